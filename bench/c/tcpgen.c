// Many TCP connections at once, each from another source address: how much they carry together, and how fairly.
//
// Good because one thread with epoll writes 128 KiB a call and never waits for one connection while another could go on. The clock
// starts when all connections stand. A sink leaves out the first SKIP seconds after the first byte: slow start.
#include "common.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>

enum { CHUNK = 128 << 10, CONNECTIONS = 4096, EVENTS = 64 };
static const char USAGE[] = "sink ADDR PORT SECONDS [SKIP] | send ADDR PORT SECONDS N SRCBASE|SRC,SRC...|-";

static int fds[CONNECTIONS];
static uint64_t carried[CONNECTIONS];
static unsigned count;
static uint8_t *buffer;
static int events_fd;

static void print_ready(const char *mode) {
  printf("{\"ready\":true,\"program\":\"tcpgen\",\"mode\":\"%s\"}\n", mode);
  fflush(stdout);
}

static void print_result(uint64_t first, uint64_t last) {
  uint64_t total = 0, least = count ? UINT64_MAX : 0, most = 0;
  for (unsigned i = 0; i < count; i++) {
    total += carried[i];
    if (carried[i] < least) least = carried[i];
    if (carried[i] > most) most = carried[i];
  }
  const double lasted = (double)(last - first) / 1e9;
  printf("{\"bytes\":%lu,\"seconds\":%.6f,\"bits_per_second\":%.1f,\"connections\":%u,\"connection_bytes_min\":%lu,"
         "\"connection_bytes_max\":%lu,\"cpu_s\":%.3f}\n",
         total, lasted, lasted > 0 ? (double)total * 8 / lasted : 0, count, least, most, cpu_seconds());
}

enum { LISTENER = CONNECTIONS, STOP };

static void watch(int fd, uint32_t what, uint32_t name) {
  struct epoll_event event = {.events = what, .data.u32 = name};
  if (epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &event) < 0) DIE("epoll_ctl");
}

static int sink(const struct endpoint *at, double seconds, double skip) {
  const int listener = socket(at->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (listener < 0) DIE("socket");
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, &at->any, at->length) < 0) DIE("bind");
  if (listen(listener, CONNECTIONS) < 0) DIE("listen");
  watch(listener, EPOLLIN, LISTENER);
  print_ready("sink");
  const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), start_up = (uint64_t)(skip * 1e9);
  uint64_t begun = 0, first = 0, last = 0;
  for (uint64_t now; !stopping && (now = now_ns()) < end;) {
    struct epoll_event events[EVENTS];
    const int ready = epoll_wait(events_fd, events, EVENTS, (int)((end - now) / 1000000 + 1));
    if (ready < 0 && errno != EINTR) DIE("epoll_wait");
    for (int i = 0; i < ready; i++) {
      const uint32_t name = events[i].data.u32;
      if (name == LISTENER) {
        const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) continue;
        if (count == CONNECTIONS) {
          close(fd);
          continue;
        }
        fds[count] = fd;
        watch(fd, EPOLLIN, count++);
      } else if (name < CONNECTIONS && fds[name] >= 0) {
        const ssize_t got = recv(fds[name], buffer, CHUNK, 0);
        if (got > 0) {
          last = now_ns();
          if (!begun) begun = last;
          if (last - begun < start_up) continue;
          if (!first) first = last;
          carried[name] += (uint64_t)got;
        } else if (got == 0 || errno != EAGAIN) {
          close(fds[name]);
          fds[name] = -1;
        }
      }
    }
  }
  print_result(first, last);
  return 0;
}

// The source of connection i: base + i, or the i-th of a list, round and round.
static void choose_source(const char *sources, unsigned i, struct endpoint *out) {
  char copy[4096];
  if (snprintf(copy, sizeof copy, "%s", sources) >= (int)sizeof copy) usage(USAGE);
  if (strchr(copy, ',')) {
    char *list[256], *rest = copy;
    unsigned n = 0;
    for (char *one; (one = strsep(&rest, ",")) && n < COUNT(list);) list[n++] = one;
    if (!parse_endpoint(list[i % n], "0", out)) usage(USAGE);
    return;
  }
  if (!parse_endpoint(copy, "0", out)) usage(USAGE);
  if (out->any.sa_family == AF_INET) {
    out->v4.sin_addr.s_addr = htonl(ntohl(out->v4.sin_addr.s_addr) + i);
  } else {
    uint8_t *byte = out->v6.sin6_addr.s6_addr + 15;
    for (unsigned carry = i; carry && byte > out->v6.sin6_addr.s6_addr; byte--) {
      carry += *byte;
      *byte = (uint8_t)carry;
      carry >>= 8;
    }
  }
}

static int send_load(const struct endpoint *to, double seconds, unsigned n, const char *sources) {
  for (unsigned i = 0; i < n; i++) {
    const int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) DIE("socket");
    if (strcmp(sources, "-")) {
      struct endpoint from;
      choose_source(sources, i, &from);
      setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
      if (bind(fd, &from.any, from.length) < 0) DIE("bind");
    }
    if (connect(fd, &to->any, to->length) < 0) DIE("connect");
    fds[count++] = fd;
  }
  print_ready("send");
  const uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9);
  for (unsigned i = 0; i < n; i++) watch(fds[i], EPOLLOUT, i);
  uint64_t now = start;
  for (; !stopping && (now = now_ns()) < end;) {
    struct epoll_event events[EVENTS];
    const int ready = epoll_wait(events_fd, events, EVENTS, (int)((end - now) / 1000000 + 1));
    if (ready < 0 && errno != EINTR) DIE("epoll_wait");
    for (int i = 0; i < ready; i++) {
      const uint32_t name = events[i].data.u32;
      if (name >= CONNECTIONS) continue;
      const ssize_t sent = send(fds[name], buffer, CHUNK, MSG_DONTWAIT);
      if (sent > 0) carried[name] += (uint64_t)sent;
      else if (sent < 0 && errno != EAGAIN) DIE("send");
    }
  }
  print_result(start, now);
  return 0;
}

int main(int argc, char **argv) {
  struct endpoint endpoint;
  if (argc < 5 || !parse_endpoint(argv[2], argv[3], &endpoint)) usage(USAGE);
  stop_on_signals();
  buffer = must_allocate(CHUNK);
  events_fd = epoll_create1(EPOLL_CLOEXEC);
  if (events_fd < 0) DIE("epoll_create1");
  watch(stop_fd, EPOLLIN, STOP);
  const double seconds = atof(argv[4]);
  if (argc <= 6 && !strcmp(argv[1], "sink")) return sink(&endpoint, seconds, argc == 6 ? atof(argv[5]) : 0);
  const int n = argc == 7 ? atoi(argv[5]) : 0;
  if (strcmp(argv[1], "send") || n < 1 || n > CONNECTIONS) usage(USAGE);
  return send_load(&endpoint, seconds, (unsigned)n, argv[6]);
}
