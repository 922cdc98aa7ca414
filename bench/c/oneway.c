// Datagrams at a steady rate, and when each was sent and arrived: what a link is asked to delay, and what it did.
//
// Good because an arrival is stamped by the kernel when the packet enters the receiver's namespace, so that nobody has to be woken
// for it, and because the sender sleeps until absolute times without timer slack. What is late is sent later, never left out. Both
// times are CLOCK_REALTIME: the kernel stamps with no other. To several IPv4 addresses, from ADDR on, they go in turn.
#include "common.h"

#include <sys/prctl.h>

enum { BATCH = 64, PAYLOAD_MAX = 65507 };
static const char USAGE[] = "send ADDR PORT SIZE SECONDS PPS [ADDRESSES] | sink ADDR PORT FILE";

// In the file, and the first two in each datagram. Times in ns.
struct arrival {
  uint64_t number, sent, arrived;
  uint32_t bytes, tos;  // of its IPv4 header
};
enum { STAMP = 16 };

static uint64_t realtime_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void print_ready(const char *mode) {
  printf("{\"ready\":true,\"program\":\"oneway\",\"mode\":\"%s\"}\n", mode);
  fflush(stdout);
}

static int send_steadily(const struct endpoint *to, size_t size, double seconds, double rate, uint32_t addresses) {
  static uint8_t payload[PAYLOAD_MAX];
  const int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) DIE("socket");
  enlarge_buffers(fd, 8 << 20);
  if (addresses == 1 && connect(fd, &to->any, to->length) < 0) DIE("connect");
  if (prctl(PR_SET_TIMERSLACK, 1UL) < 0) DIE("prctl");
  print_ready("send");
  const uint64_t start = now_ns(), count = (uint64_t)(seconds * rate);
  uint64_t sent = 0, errors = 0;
  for (uint64_t number = 0; number < count && !stopping; number++) {
    const uint64_t due = start + (uint64_t)((double)number / rate * 1e9);
    if (now_ns() < due) {
      const struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    const uint64_t stamp[2] = {number, realtime_ns()};
    memcpy(payload, stamp, STAMP);
    struct endpoint next = *to;
    if (addresses > 1) next.v4.sin_addr.s_addr = htonl(ntohl(to->v4.sin_addr.s_addr) + (uint32_t)(number % addresses));
    if (sendto(fd, payload, size, 0, addresses > 1 ? &next.any : NULL, addresses > 1 ? next.length : 0) >= 0) sent++;
    else if (errno == ENOBUFS || errno == ECONNREFUSED || errno == EINTR) errors++;
    else DIE("send");
  }
  printf("{\"sent\":%lu,\"errors\":%lu,\"seconds\":%.6f}\n", sent, errors, (double)(now_ns() - start) / 1e9);
  return 0;
}

static void read_controls(struct msghdr *message, struct arrival *arrival) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_TOS) arrival->tos = *CMSG_DATA(c);
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
    struct timespec t;
    memcpy(&t, CMSG_DATA(c), sizeof t);
    arrival->arrived = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
  }
}

static int sink(const struct endpoint *at, const char *path) {
  static struct mmsghdr messages[BATCH];
  static struct iovec parts[BATCH];
  static uint8_t stamps[BATCH][STAMP];
  static _Alignas(struct cmsghdr) uint8_t controls[BATCH][64];
  const int fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) DIE("socket");
  enlarge_buffers(fd, 64 << 20);
  if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0) DIE("SO_TIMESTAMPNS");
  if (setsockopt(fd, SOL_IP, IP_RECVTOS, &on, sizeof on) < 0 && at->any.sa_family == AF_INET) DIE("IP_RECVTOS");
  if (bind(fd, &at->any, at->length) < 0) DIE("bind");
  FILE *file = fopen(path, "we");
  if (!file) DIE(path);
  print_ready("sink");
  uint64_t packets = 0;
  while (!stopping) {
    for (int i = 0; i < BATCH; i++) {
      parts[i] = (struct iovec){stamps[i], STAMP};
      messages[i].msg_hdr = (struct msghdr){
          .msg_iov = &parts[i], .msg_iovlen = 1, .msg_control = controls[i], .msg_controllen = sizeof controls[i]};
    }
    // MSG_TRUNC: the length that came, though only the stamp is copied.
    const int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
    if (count < 0) {
      if (errno != EAGAIN && errno != EINTR) DIE("recvmmsg");
      struct pollfd wait[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
      if (ppoll(wait, COUNT(wait), NULL, NULL) < 0 && errno != EINTR) DIE("ppoll");
      continue;
    }
    for (int i = 0; i < count; i++) {
      if (messages[i].msg_len < STAMP) continue;
      struct arrival arrival = {.bytes = messages[i].msg_len};
      read_controls(&messages[i].msg_hdr, &arrival);
      memcpy(&arrival, stamps[i], STAMP);
      if (fwrite(&arrival, sizeof arrival, 1, file) != 1) DIE(path);
      packets++;
    }
  }
  if (fclose(file) != 0) DIE(path);
  printf("{\"packets\":%lu}\n", packets);
  return 0;
}

int main(int argc, char **argv) {
  struct endpoint endpoint;
  if (argc < 5 || !parse_endpoint(argv[2], argv[3], &endpoint)) usage(USAGE);
  stop_on_signals();
  if (argc == 5 && !strcmp(argv[1], "sink")) return sink(&endpoint, argv[4]);
  if (argc < 7 || argc > 8 || strcmp(argv[1], "send")) usage(USAGE);
  const int size = atoi(argv[4]);
  const double seconds = atof(argv[5]), rate = atof(argv[6]);
  const int addresses = argc == 8 ? atoi(argv[7]) : 1;
  if (addresses < 1 || (addresses > 1 && endpoint.any.sa_family != AF_INET)) usage(USAGE);
  if (size < STAMP || size > PAYLOAD_MAX || !(seconds > 0) || !(rate > 0)) usage(USAGE);
  return send_steadily(&endpoint, (size_t)size, seconds, rate, (uint32_t)addresses);
}
