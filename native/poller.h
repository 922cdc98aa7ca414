// One epoll with a timer and a wake-up in it, and two ways to sleep on it: the event loop watches the epoll's descriptor
// (the main thread), or the thread blocks in it and the epoll watches the event loop (a worker).
#pragma once

#include <cstdint>
#include <limits>

#include "environment.h"

struct Watch;

struct Poller {
  Environment* self = nullptr;
  int32_t id = 0;
  int epoll = -1;
  int timer = -1;
  int wakeup = -1;
  int32_t* ready = nullptr;
  int32_t readyPairs = 0;
  napi_ref heldReady = nullptr;
  // Shared with JavaScript, which would have to make an object of every double that crosses over: the clock as of the
  // last wait, and when to wake though nothing is ready. Both in ns since `epoch`.
  double* times = nullptr;
  napi_ref heldTimes = nullptr;
  double ownTimes[2] = {0, std::numeric_limits<double>::infinity()};
  double epoch = 0;
  // When the timer fires, ns of CLOCK_MONOTONIC.
  double armed = std::numeric_limits<double>::infinity();
  bool referenced = true;
  bool wasIdle = false;  // the last wait was a long one
  double look = 0;       // how long to look for an answer then, ns
  double ahead = 0;      // how long before the deadline to wake up, ns
  Watch* watch = nullptr;

  double deadline() const { return times[1] + epoch; }
  void readClock();
};

struct Harvest {
  int32_t pairs;  // in `ready`, or -errno
  bool loop;      // the event loop has something
};

// Waits until something is ready or `deadline` (ns of CLOCK_MONOTONIC; 0: does not wait; infinity: for ever), and
// reads the clock.
Harvest harvest(Poller* poller, double deadline);
// Sets the timer to the poller's deadline, unless it fires before that anyway: too early is harmless.
void armTimer(Poller* poller);
bool addLoop(int epoll, int fd);

// poller_loop.cc
void endWatch(Watch* watch);
void definePollerLoop(napi_env env, napi_value exports, Environment* self);
// poller.cc
Poller* findPoller(Environment* self, int32_t id);
// For set-up calls: throws when there is no such poller.
Poller* needPoller(napi_env env, Environment* self, int32_t id);
