// A second process with the same memory, so that the first one's descriptors are closed at once when it dies.
//
// Linux takes a dead process apart in an order of its own: memory first, then descriptors. For a process of 150 MB the
// first takes tens of milliseconds, in which its sockets still take what comes and nobody is refused. Memory that somebody
// else holds, too, is let go of in no time; the descriptors follow, and who sends there hears of it. That other one is
// a process that has no descriptor but one that tells of the end of the first, and costs a stack. Whatever kills both
// at the same time (the OOM killer, a cgroup's end) finds things as they are without it.
//
// It has the thread-local storage of the thread that made it: so it calls nothing that may set errno or take a lock.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "arguments.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#if defined(__SANITIZE_ADDRESS__)
#define PLAIN __attribute__((no_sanitize("address", "undefined")))
#else
#define PLAIN
#endif

namespace {

constexpr size_t kStack = 64 * 1024;
// Of the process that asked for it, which a fork would otherwise pass on.
std::atomic<pid_t> keptFor{0};

// A system call that leaves errno alone. Returns -errno.
#if defined(__x86_64__)
#define HAS_RAW_CALLS 1
PLAIN inline long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
#define HAS_RAW_CALLS 1
PLAIN inline long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
#else
#define HAS_RAW_CALLS 0
PLAIN inline long raw(long, long = 0, long = 0, long = 0, long = 0, long = 0) { return -1; }
#endif

PLAIN int keep(void* argument) {
  const pid_t parent = static_cast<pid_t>(reinterpret_cast<intptr_t>(argument));
  // A signal to the process group is the first one's to take.
  raw(SYS_setsid);
  raw(SYS_prctl, PR_SET_NAME, reinterpret_cast<intptr_t>("tunc-memory"));
  // With a copy of the sockets it would be what keeps them open.
  if (raw(SYS_close_range, 0, 0xffffffffL, 0) == 0) {
    const long fd = raw(SYS_pidfd_open, parent, 0);
    if (fd >= 0 && raw(SYS_getppid) == parent) {
      // Readable when the last thread is gone: to let go earlier would leave that one the memory to take apart.
      pollfd end{static_cast<int>(fd), POLLIN, 0};
      while (raw(SYS_ppoll, reinterpret_cast<intptr_t>(&end), 1, 0, 0, 8) == -EINTR) {
      }
    }
  }
  raw(SYS_exit, 0);
  return 0;
}

napi_value keepMemory(napi_env env, napi_callback_info) {
  napi_value result = nullptr;
  const pid_t self = getpid();
  bool isKept = HAS_RAW_CALLS && keptFor.exchange(self) == self;
  if (HAS_RAW_CALLS && !isKept) {
    // Never given back: the other process stands on it until the end.
    void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack != MAP_FAILED) {
      sigset_t all, before;
      sigfillset(&all);
      // A handler that ran there would run on our memory.
      sigprocmask(SIG_BLOCK, &all, &before);
      isKept = clone(keep, static_cast<char*>(stack) + kStack, CLONE_VM,
                     reinterpret_cast<void*>(static_cast<intptr_t>(self))) > 0;
      sigprocmask(SIG_SETMASK, &before, nullptr);
      if (!isKept) munmap(stack, kStack);
    }
    if (!isKept) keptFor = 0;
  }
  napi_get_boolean(env, isKept, &result);
  return result;
}

}  // namespace

void defineMemoryKeeper(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "keepMemory", keepMemory);
}
