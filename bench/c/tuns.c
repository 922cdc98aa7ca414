// Joins two TUNs, each in a network namespace of its own, with superframes or packet by packet.
//
// Good because it does nothing to a frame but read and write it: what one kernel sends another gets, with its superframe header.
#include "tun.h"

#include <sched.h>

enum { READS = 64, FRAME = 65536 + 12, MTU = 1500, QUEUE = 2000 };

static uint8_t frame[FRAME];

static struct tun open_in(const char *netns, const char *name, bool whole) {
  const int fd = open(netns, O_RDONLY | O_CLOEXEC);
  if (fd < 0) DIE(netns);
  if (setns(fd, CLONE_NEWNET) < 0) DIE("setns");
  close(fd);
  return open_tun(name, MTU, QUEUE, whole, whole, false);
}

// Some frames; true if there may be more.
static bool forward(int from, int to, uint64_t *frames) {
  for (int i = 0; i < READS; i++) {
    const ssize_t length = read(from, frame, sizeof frame);
    if (length <= 0) return false;
    if (write(to, frame, (size_t)length) == length) ++*frames;
  }
  return true;
}

int main(int argc, char **argv) {
  if (argc != 4 || (strcmp(argv[3], "whole") && strcmp(argv[3], "cut"))) usage("NETNS NETNS whole|cut");
  stop_on_signals();
  const bool whole = !strcmp(argv[3], "whole");
  const int a = open_in(argv[1], "tun0", whole).fd, b = open_in(argv[2], "tun0", whole).fd;
  uint64_t ab = 0, ba = 0;
  printf("{\"ready\":true,\"program\":\"tuns\"}\n");
  fflush(stdout);
  while (!stopping) {
    bool more = forward(a, b, &ab);
    more |= forward(b, a, &ba);
    if (more) continue;
    struct pollfd wait[] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    if (ppoll(wait, COUNT(wait), NULL, NULL) < 0 && errno != EINTR) DIE("ppoll");
  }
  printf("{\"frames_ab\":%lu,\"frames_ba\":%lu,\"cpu_s\":%.3f}\n", ab, ba, cpu_seconds());
}
