// What every program here needs: errors that name the system call, the clock, an orderly end, addresses.
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DIE(what) die(what, __func__)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

_Noreturn static inline void die(const char *what, const char *where) {
  fprintf(stderr, "%s: %s (%s): %s\n", program_invocation_short_name, what, where, strerror(errno));
  exit(1);
}

_Noreturn static inline void usage(const char *text) {
  fprintf(stderr, "usage: %s %s\n", program_invocation_short_name, text);
  exit(2);
}

static inline void *must_allocate(size_t bytes) {
  void *memory = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
  if (!memory) DIE("aligned_alloc");
  memset(memory, 0, bytes);  // pages are touched now, not in the measurement
  return memory;
}

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline double cpu_seconds(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
         (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

// SIGTERM and SIGINT set a flag that busy loops look at, and make a descriptor readable that sleeping ones poll:
// with either alone a signal could be missed, between the look and the sleep or under constant load.
static volatile sig_atomic_t stopping;
static int stop_fd = -1;

static inline void on_stop(int signal_number) {
  (void)signal_number;
  const int saved = errno;
  const uint64_t one = 1;
  stopping = 1;
  if (write(stop_fd, &one, sizeof one) < 0) { /* full: readable already */ }
  errno = saved;
}

static inline void stop_on_signals(void) {
  stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (stop_fd < 0) DIE("eventfd");
  struct sigaction action = {.sa_handler = on_stop};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
}

// An IPv4 or IPv6 socket address.
struct endpoint {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  };
  socklen_t length;
};

static inline bool parse_endpoint(const char *address, const char *port, struct endpoint *out) {
  memset(out, 0, sizeof *out);
  char *end;
  const unsigned long number = strtoul(port, &end, 10);
  if (*port == 0 || *end || number > 65535) return false;
  if (inet_pton(AF_INET, address, &out->v4.sin_addr) == 1) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((uint16_t)number);
    out->length = sizeof out->v4;
    return true;
  }
  if (inet_pton(AF_INET6, address, &out->v6.sin6_addr) != 1) return false;
  out->v6.sin6_family = AF_INET6;
  out->v6.sin6_port = htons((uint16_t)number);
  out->length = sizeof out->v6;
  return true;
}

// ADDR:PORT or [ADDR]:PORT
static inline bool parse_address_port(const char *text, struct endpoint *out) {
  char copy[80];
  const char *colon = strrchr(text, ':');
  if (!colon || (size_t)(colon - text) >= sizeof copy) return false;
  const bool bracketed = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
  const size_t length = (size_t)(colon - text) - (bracketed ? 2 : 0);
  memcpy(copy, text + (bracketed ? 1 : 0), length);
  copy[length] = 0;
  return parse_endpoint(copy, colon + 1, out);
}

// Socket buffers past net.core.*mem_max where we may: a superframe is charged with its whole allocated size.
static inline void enlarge_buffers(int fd, int bytes) {
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}
