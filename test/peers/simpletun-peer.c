/*
 * A plain simpletun: one TUN or TAP, one TCP connection, each packet behind its length in two bytes, big endian.
 * The other end of the `stream` format in tests. It shares no code with the library, on purpose.
 *
 *   simpletun-peer -i NAME [-a] (-s PORT | -c ADDRESS:PORT) [-d] [-b]
 *
 *   -i NAME   interface to make     -a  a TAP instead of a TUN
 *   -s PORT   wait for a peer; a newer connection replaces the older one
 *   -c A:P    connect, and again 0.2 s after the connection ended
 *   -d        dribble: send every byte in a segment of its own
 *   -b        put a record that cannot be a packet in front of every packet
 *
 * SIGUSR1 makes it send a million bytes without any framing. It says "interface", "up" and "down" on stdout.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONGEST 65535

static int dribble;
static int bad;
static unsigned long packets_sent;
static volatile sig_atomic_t garbage_wanted;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void say(const char *word) {
  puts(word);
  fflush(stdout);
}

static void on_usr1(int signal_number) {
  (void)signal_number;
  garbage_wanted = 1;
}

static int open_interface(const char *name, int tap) {
  struct ifreq request;
  int fd = open("/dev/net/tun", O_RDWR);
  if (fd < 0) die("/dev/net/tun");
  memset(&request, 0, sizeof request);
  request.ifr_flags = (tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI;
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(fd, TUNSETIFF, &request) < 0) die("TUNSETIFF");
  return fd;
}

/* 1, or 0 when the connection is gone. */
static int send_all(int fd, const uint8_t *bytes, size_t length) {
  while (length > 0) {
    ssize_t n = send(fd, bytes, dribble ? 1 : length, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    bytes += n;
    length -= (size_t)n;
  }
  return 1;
}

static int receive_all(int fd, uint8_t *bytes, size_t length) {
  while (length > 0) {
    ssize_t n = recv(fd, bytes, length, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    bytes += n;
    length -= (size_t)n;
  }
  return 1;
}

static int send_record(int fd, uint8_t *buffer, size_t length) {
  /* The packet stands two bytes into the buffer. */
  buffer[0] = (uint8_t)(length >> 8);
  buffer[1] = (uint8_t)length;
  return send_all(fd, buffer, length + 2);
}

/* One of: empty, one byte, less than an IPv4 header, no packet at all, a packet longer than its record. */
static int send_bad_record(int fd) {
  static uint8_t buffer[2 + 3000];
  static const size_t lengths[] = {0, 1, 19, 3000, 100};
  unsigned which = packets_sent % 5;
  memset(buffer, 0, sizeof buffer);
  if (which == 4) {
    buffer[2] = 0x45;
    buffer[4] = 0x05;
    buffer[5] = 0xdc;
  }
  return send_record(fd, buffer, lengths[which]);
}

static int send_garbage(int fd) {
  static uint8_t block[1000];
  memset(block, 0xff, sizeof block);
  for (int i = 0; i < 1000; i++) {
    if (!send_all(fd, block, sizeof block)) return 0;
  }
  return 1;
}

static struct sockaddr_in parse_target(char *text) {
  struct sockaddr_in name;
  char *colon = strchr(text, ':');
  memset(&name, 0, sizeof name);
  name.sin_family = AF_INET;
  if (colon == NULL) {
    fprintf(stderr, "expected ADDRESS:PORT, found %s\n", text);
    exit(2);
  }
  *colon = '\0';
  if (inet_pton(AF_INET, text, &name.sin_addr) != 1) die(text);
  name.sin_port = htons((uint16_t)atoi(colon + 1));
  return name;
}

static int listen_on(int port) {
  struct sockaddr_in name;
  int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  memset(&name, 0, sizeof name);
  name.sin_family = AF_INET;
  name.sin_port = htons((uint16_t)port);
  if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0) die("bind");
  if (listen(fd, 5) < 0) die("listen");
  return fd;
}

static int connect_to(const struct sockaddr_in *target) {
  for (;;) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    if (connect(fd, (const struct sockaddr *)target, sizeof *target) == 0) return fd;
    close(fd);
    usleep(200 * 1000);
  }
}

/* Carries packets until the connection ends or `listener` has another one. */
static void carry(int tun, int net, int listener) {
  static uint8_t out[2 + LONGEST];
  static uint8_t in[LONGEST];
  struct pollfd fds[3] = {{tun, POLLIN, 0}, {net, POLLIN, 0}, {listener, POLLIN, 0}};
  for (;;) {
    if (garbage_wanted) {
      garbage_wanted = 0;
      if (!send_garbage(net)) return;
    }
    if (poll(fds, listener < 0 ? 2 : 3, -1) < 0) {
      if (errno == EINTR) continue;
      die("poll");
    }
    if (listener >= 0 && (fds[2].revents & POLLIN)) return;
    if (fds[0].revents & POLLIN) {
      ssize_t n = read(tun, out + 2, LONGEST);
      if (n > 0) {
        if (bad && !send_bad_record(net)) return;
        if (!send_record(net, out, (size_t)n)) return;
        packets_sent++;
      }
    }
    if (fds[1].revents & (POLLIN | POLLERR | POLLHUP)) {
      uint8_t prefix[2];
      size_t length;
      if (!receive_all(net, prefix, 2)) return;
      length = (size_t)prefix[0] << 8 | prefix[1];
      if (!receive_all(net, in, length)) return;
      /* An interface that is down refuses packets; the stream goes on. */
      if (write(tun, in, length) < 0 && errno != EIO && errno != EINVAL) die("write");
    }
  }
}

int main(int argc, char **argv) {
  const char *interface = "tun0";
  struct sockaddr_in target;
  struct sigaction action;
  int tap = 0;
  int port = 0;
  int client = 0;
  int option;
  int tun;
  int listener = -1;
  while ((option = getopt(argc, argv, "i:as:c:db")) != -1) {
    if (option == 'i') interface = optarg;
    else if (option == 'a') tap = 1;
    else if (option == 's') port = atoi(optarg);
    else if (option == 'c') client = 1, target = parse_target(optarg);
    else if (option == 'd') dribble = 1;
    else if (option == 'b') bad = 1;
    else return 2;
  }
  if (client == (port != 0)) return 2;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_usr1;
  sigaction(SIGUSR1, &action, NULL);
  tun = open_interface(interface, tap);
  if (!client) listener = listen_on(port);
  say("interface");
  for (;;) {
    int on = 1;
    int net = client ? connect_to(&target) : accept(listener, NULL, NULL);
    if (net < 0) continue;
    setsockopt(net, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    say("up");
    carry(tun, net, listener);
    close(net);
    say("down");
    if (client) usleep(200 * 1000);
  }
}
