// Wakes at steady times, computes for a while if asked to, and says how late it was: what a timer on this processor can be held to.
//
// Good because it sleeps as our poller does, in epoll_pwait2 without timer slack, with no code of ours around it.
#include "common.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { MOST = 1 << 20 };

static int by_size(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  const double interval = argc > 1 ? atof(argv[1]) : 0;
  const uint64_t work = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
  if (!(interval >= 1000) || argc > 3) usage("INTERVAL_NS [WORK_NS]");
  stop_on_signals();
  if (prctl(PR_SET_TIMERSLACK, 1UL) < 0) DIE("prctl");
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) DIE("epoll_create1");
  struct epoll_event event = {.events = EPOLLIN};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, stop_fd, &event) < 0) DIE("epoll_ctl");
  uint64_t *late = must_allocate(MOST * sizeof *late);
  printf("{\"ready\":true,\"program\":\"sleep\"}\n");
  fflush(stdout);
  const uint64_t start = now_ns();
  uint64_t count = 0;
  for (uint64_t turn = 1; !stopping && count < MOST; turn++) {
    const uint64_t due = start + (uint64_t)((double)turn * interval);
    uint64_t now = now_ns();
    while (now < due && !stopping) {
      const struct timespec left = {(time_t)((due - now) / 1000000000u), (long)((due - now) % 1000000000u)};
      if (syscall(SYS_epoll_pwait2, epoll, &event, 1, &left, NULL, (size_t)0) < 0 && errno != EINTR) DIE("epoll_pwait2");
      now = now_ns();
    }
    if (!stopping) late[count++] = now - due;
    for (const uint64_t end = now + work; now < end;) now = now_ns();
  }
  if (count == 0) return 1;
  qsort(late, count, sizeof *late, by_size);
  printf("{\"times\":%lu,\"p50\":%lu,\"p99\":%lu}\n", count, late[count / 2], late[count * 99 / 100]);
  return 0;
}
