#include "poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "arguments.h"
#include "port.h"

namespace {

// Mark epoll data that is no key of JavaScript's: the timer and the wake-up, and the event loop.
constexpr uint64_t kInternal = uint64_t{1} << 32;
constexpr uint64_t kLoop = uint64_t{1} << 33;
constexpr int kMaxEvents = 256;
// PollEvent in src/native/binding.ts.
constexpr int32_t kRead = 1;
constexpr int32_t kWrite = 2;
constexpr int32_t kError = 4;
constexpr int32_t kEdge = 8;

// Wake-ups come from any thread, by number.
struct Wakeups {
  std::mutex mutex;
  std::unordered_map<int32_t, int> descriptors;
  int32_t next = 1;
};

Wakeups& wakeups() {
  static Wakeups* all = new Wakeups;
  return *all;
}

// Nanoseconds to a timespec, rounded up: never early.
timespec toTimespec(double ns) {
  int64_t whole = static_cast<int64_t>(std::ceil(ns));
  timespec time{};
  time.tv_sec = static_cast<time_t>(whole / 1000000000);
  time.tv_nsec = static_cast<long>(whole % 1000000000);
  return time;
}

bool isFinite(double deadline) { return deadline < 9e18; }

int waitFor(int epoll, epoll_event* events, int capacity, const timespec* timeout) {
#ifdef SYS_epoll_pwait2
  static std::atomic<bool> missing{false};
  if (!missing.load(std::memory_order_relaxed)) {
    long n = syscall(SYS_epoll_pwait2, epoll, events, capacity, timeout, nullptr, size_t{0});
    // EPERM is what a container's filter says that is older than the call.
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(n);
    missing.store(true, std::memory_order_relaxed);  // before Linux 5.11
  }
#endif
  int64_t ms = -1;
  if (timeout != nullptr) ms = timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000;
  return epoll_wait(epoll, events, capacity, ms > INT32_MAX ? INT32_MAX : static_cast<int>(ms));
}

// Linux delays timed waits by up to 50 us to save wake-ups; a thread that sleeps here wants its packets on time.
void sharpenTimers() {
  static thread_local bool sharp = false;
  if (!sharp) prctl(PR_SET_TIMERSLACK, 1UL);
  sharp = true;
}

}  // namespace

Poller* findPoller(Environment* self, int32_t id) {
  for (Poller* poller : self->pollers) {
    if (poller->id == id) return poller;
  }
  return nullptr;
}

Poller* needPoller(napi_env env, Environment* self, int32_t id) {
  Poller* poller = findPoller(self, id);
  if (poller == nullptr) {
    Failure failure;
    failure.set(EBADF, "poller");
    throwFailure(env, failure);
  }
  return poller;
}

void Poller::readClock() { times[0] = monotonicNow() - epoch; }

namespace {

// A thread that slept this long is idle: nothing streams through it.
constexpr double kIdle = 1e6;
// How long it then looks for an answer to what it has just sent, before it sleeps again: a packet that comes while a
// thread falls asleep waits for it to wake up, which takes as long as the rest of the way (docs/decisions/010). It
// learns whether answers come: it looks for twice as long after one that came too late, and for half as long, down to
// not at all, after each that did not come.
constexpr double kLeastLook = 12.5e3;
constexpr double kMostLook = 400e3;

double nextLook(double look, bool answered, double waited) {
  if (!answered || waited > kMostLook) return look > kLeastLook ? look / 2 : 0;
  return waited <= look ? look : std::min(std::max(look * 2, kLeastLook), kMostLook);
}

// A thread that sleeps until a time is awake some while after it: an interrupt, a processor that has to wake up, code that
// is cold. So it sleeps until somewhat before the network's deadline and looks for the rest. How much before is what nine of
// ten wake-ups needed lately, but never more than this, nor more than this share of the wait, which is what it costs.
constexpr double kMostAhead = 200e3;
constexpr double kAheadShare = 1.0 / 8;
constexpr double kAheadStep = 8e3;
constexpr double kAheadQuantile = 0.9;

// Moves an estimate of a quantile towards it: up by its share of a step where it was too low, down by the rest.
double nextAhead(double ahead, double late) {
  double next = late > ahead ? ahead + kAheadStep * kAheadQuantile : ahead - kAheadStep * (1 - kAheadQuantile);
  return std::min(std::max(next, 0.0), kMostAhead);
}

// Looks, without sleeping, until `end`; returns what epoll_wait does.
int lookUntil(int epoll, epoll_event* events, int capacity, double end, double* now) {
  timespec zero{};
  int n = 0;
  while (n == 0 && *now < end) {
    n = waitFor(epoll, events, capacity, &zero);
    *now = monotonicNow();
  }
  return n;
}

// epoll_wait until `deadline` (ns of CLOCK_MONOTONIC; 0: does not wait; infinity: for ever).
int waitUntil(Poller* poller, epoll_event* events, int capacity, double deadline) {
  timespec zero{};
  double began = deadline > 0 ? monotonicNow() : 0;
  if (!(deadline > began)) return waitFor(poller->epoll, events, capacity, &zero);
  double now = began;
  bool looks = poller->wasIdle;
  poller->wasIdle = false;
  if (looks) {
    int n = lookUntil(poller->epoll, events, capacity, std::min(began + poller->look, deadline), &now);
    if (n != 0) return n;
  }
  bool bounded = isFinite(deadline);
  // What the event loop wants in time need not be on the microsecond.
  bool exact = bounded && deadline == poller->deadline();
  double ahead = exact ? std::min(poller->ahead, (deadline - now) * kAheadShare) : 0;
  double until = deadline - ahead;
  timespec timeout = toTimespec(bounded && until > now ? until - now : 0);
  sharpenTimers();
  int n = waitFor(poller->epoll, events, capacity, bounded ? &timeout : nullptr);
  double woke = monotonicNow();
  if (looks) poller->look = nextLook(poller->look, n > 0, woke - began);
  poller->wasIdle = woke - began >= kIdle;
  if (n != 0 || !exact) return n;
  poller->ahead = nextAhead(poller->ahead, woke - until);
  return lookUntil(poller->epoll, events, capacity, deadline, &woke);
}

}  // namespace

Harvest harvest(Poller* poller, double deadline) {
  epoll_event events[kMaxEvents];
  // No more than fit: an edge that was taken out and not told would never come again.
  int capacity = poller->readyPairs;
  Harvest found{0, false};
  int n;
  do {
    n = waitUntil(poller, events, capacity, deadline);
  } while (n < 0 && errno == EINTR);
  if (n < 0) found.pairs = -errno;
  for (int i = 0; i < n; i++) {
    if (events[i].data.u64 & kLoop) found.loop = true;
    if (events[i].data.u64 & (kLoop | kInternal)) continue;
    int32_t bits = 0;
    if (events[i].events & (EPOLLIN | EPOLLRDHUP)) bits |= kRead;
    if (events[i].events & EPOLLOUT) bits |= kWrite;
    if (events[i].events & (EPOLLERR | EPOLLHUP)) bits |= kError;
    poller->ready[found.pairs * 2] = static_cast<int32_t>(events[i].data.u64);
    poller->ready[found.pairs * 2 + 1] = bits;
    found.pairs++;
  }
  poller->readClock();
  if (poller->times[0] + poller->epoch >= poller->armed) {
    poller->armed = std::numeric_limits<double>::infinity();
  }
  return found;
}

void armTimer(Poller* poller) {
  double deadline = poller->deadline();
  if (!(deadline < poller->armed)) return;
  itimerspec when{};
  // All zero would be never; a time in the past fires at once.
  when.it_value = toTimespec(deadline >= 1 ? deadline : 1);
  if (timerfd_settime(poller->timer, TFD_TIMER_ABSTIME, &when, nullptr) == 0) poller->armed = deadline;
}

bool addLoop(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kLoop;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

namespace {

uint32_t epollBits(int64_t events) {
  uint32_t bits = 0;
  if (events & kRead) bits |= EPOLLIN;
  if (events & kWrite) bits |= EPOLLOUT;
  if (events & kEdge) bits |= EPOLLET;
  return bits;
}

void closePoller(Poller* poller) {
  {
    Wakeups& all = wakeups();
    std::lock_guard<std::mutex> lock(all.mutex);
    all.descriptors.erase(poller->id);
    if (poller->wakeup >= 0) close(poller->wakeup);
  }
  // The loop must let go of the epoll descriptor before it is closed.
  if (poller->watch != nullptr) endWatch(poller->watch);
  if (poller->timer >= 0) close(poller->timer);
  if (poller->epoll >= 0) close(poller->epoll);
  for (napi_ref held : {poller->heldReady, poller->heldTimes}) {
    if (held != nullptr) napi_delete_reference(poller->self->env, held);
  }
  delete poller;
}

bool addInternal(int epoll, int fd) {
  // Edge-triggered: neither has to be read, each expiry and each wake-up is an edge of its own.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kInternal;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

napi_value pollerOpen(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  void* ready;
  size_t length;
  if (!readTypedArray(env, call.values[0], "ready", napi_int32_array, &ready, &length)) return nullptr;
  void* times = nullptr;
  double epoch = 0;
  napi_valuetype type;
  if (napi_typeof(env, call.values[1], &type) == napi_ok && type != napi_undefined) {
    size_t cells;
    if (!readTypedArray(env, call.values[1], "times", napi_float64_array, &times, &cells)) return nullptr;
    if (cells < 2) {
      napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "times must have two cells");
      return nullptr;
    }
    if (!readNumber(env, call.values[2], "epoch", &epoch)) return nullptr;
  }
  if (length < 2) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "ready must hold at least one pair");
    return nullptr;
  }
  Poller* poller = new Poller;
  poller->self = call.self;
  poller->ready = static_cast<int32_t*>(ready);
  poller->readyPairs = static_cast<int32_t>(std::min<size_t>(length / 2, kMaxEvents));
  poller->times = times != nullptr ? static_cast<double*>(times) : poller->ownTimes;
  poller->epoch = epoch;
  poller->epoll = epoll_create1(EPOLL_CLOEXEC);
  poller->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  poller->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (poller->epoll < 0 || poller->timer < 0 || poller->wakeup < 0 ||
      !addInternal(poller->epoll, poller->timer) || !addInternal(poller->epoll, poller->wakeup)) {
    Failure failure;
    failure.set(errno, "epoll_create1");
    closePoller(poller);
    return throwFailure(env, failure);
  }
  napi_create_reference(env, call.values[0], 1, &poller->heldReady);
  if (times != nullptr) napi_create_reference(env, call.values[1], 1, &poller->heldTimes);
  poller->readClock();
  {
    Wakeups& all = wakeups();
    std::lock_guard<std::mutex> lock(all.mutex);
    poller->id = all.next++;
    all.descriptors[poller->id] = poller->wakeup;
  }
  call.self->pollers.push_back(poller);
  return makeInteger(env, poller->id);
}

napi_value control(napi_env env, napi_callback_info info, int operation, const char* name) {
  Arguments<4> call(env, info);
  Poller* poller = needPoller(env, call.self, call.integer(0));
  if (poller == nullptr) return nullptr;
  int64_t fd;
  int64_t key;
  int64_t events;
  if (!readInteger(env, call.values[1], "fd", 0, INT32_MAX, &fd)) return nullptr;
  if (!readInteger(env, call.values[2], "key", INT32_MIN, INT32_MAX, &key)) return nullptr;
  if (!readInteger(env, call.values[3], "events", 0, 15, &events)) return nullptr;
  epoll_event event{};
  event.events = epollBits(events);
  event.data.u64 = static_cast<uint32_t>(key);
  if (epoll_ctl(poller->epoll, operation, static_cast<int>(fd), &event) < 0) {
    Failure failure;
    failure.set(errno, name);
    return throwFailure(env, failure);
  }
  return nullptr;
}

napi_value pollerAdd(napi_env env, napi_callback_info info) {
  return control(env, info, EPOLL_CTL_ADD, "epoll_ctl(ADD)");
}

napi_value pollerModify(napi_env env, napi_callback_info info) {
  return control(env, info, EPOLL_CTL_MOD, "epoll_ctl(MOD)");
}

napi_value pollerRemove(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Poller* poller = findPoller(call.self, call.integer(0));
  // A descriptor that is closed has left by itself.
  if (poller != nullptr) epoll_ctl(poller->epoll, EPOLL_CTL_DEL, call.integer(1), nullptr);
  return nullptr;
}

napi_value pollerWait(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Poller* poller = findPoller(call.self, call.integer(0));
  double deadline = 0;
  if (poller == nullptr || napi_get_value_double(env, call.values[1], &deadline) != napi_ok) {
    return makeInteger(env, -EBADF);
  }
  if (std::isnan(deadline)) return makeInteger(env, -EINVAL);  // or it would wait for ever
  return makeInteger(env, harvest(poller, deadline).pairs);
}

napi_value pollerClock(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Poller* poller = findPoller(call.self, call.integer(0));
  if (poller != nullptr) poller->readClock();
  return nullptr;
}

napi_value pollerWake(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Wakeups& all = wakeups();
  std::lock_guard<std::mutex> lock(all.mutex);
  auto found = all.descriptors.find(call.integer(0));
  if (found == all.descriptors.end()) return nullptr;
  uint64_t one = 1;
  // EAGAIN means 2^64 - 1 wake-ups are pending, which is enough.
  ssize_t ignored = write(found->second, &one, sizeof one);
  (void)ignored;
  return nullptr;
}

napi_value pollerClose(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  std::vector<Poller*>& pollers = call.self->pollers;
  Poller* poller = findPoller(call.self, call.integer(0));
  if (poller == nullptr) return nullptr;
  pollers.erase(std::find(pollers.begin(), pollers.end(), poller));
  closePoller(poller);
  return nullptr;
}

napi_value now(napi_env env, napi_callback_info) { return makeNumber(env, monotonicNow()); }

}  // namespace

void pollersCloseAll(Environment* self) {
  for (Poller* poller : self->pollers) closePoller(poller);
  self->pollers.clear();
}

void definePoller(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "now", now);
  defineFunction(env, exports, self, "pollerOpen", pollerOpen);
  defineFunction(env, exports, self, "pollerAdd", pollerAdd);
  defineFunction(env, exports, self, "pollerModify", pollerModify);
  defineFunction(env, exports, self, "pollerRemove", pollerRemove);
  defineFunction(env, exports, self, "pollerWait", pollerWait);
  defineFunction(env, exports, self, "pollerClock", pollerClock);
  defineFunction(env, exports, self, "pollerWake", pollerWake);
  defineFunction(env, exports, self, "pollerClose", pollerClose);
  definePollerLoop(env, exports, self);
}
