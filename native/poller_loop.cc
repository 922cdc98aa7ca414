// How JavaScript's turns come about. On the main thread the event loop watches the epoll's descriptor (uv_poll) and
// calls a turn for what is ready. In a worker the thread blocks in the epoll, from a prepare handle of the loop:
//
//   1. what is ready is taken out and JavaScript has its turn, then its microtasks;
//   2. the thread blocks until there is something for the next turn, or for the loop: its own descriptor is in our
//      epoll, and its timers bound the wait;
//   3. when there is something for the loop, it gets one round. An active idle handle keeps it from sleeping. Another
//      turn that JavaScript wants at once needs no round: each makes 56 bytes of garbage (Node's, for its immediates).
#include <errno.h>
#include <uv.h>

#include <algorithm>

#include "arguments.h"
#include "poller.h"
#include "port.h"

// The handles of one environment that its event loop still has to close, which may take longer than the environment
// itself lives: the loop runs on until the clean-up hook is removed.
struct Closing {
  int open = 0;
  bool ending = false;
  // At most one watch blocks a thread: while it does, the loop watches the other pollers, and it watches the loop.
  Watch* blocker = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
};

// What the event loop holds of a poller. Freed when the loop has closed its handles.
struct Watch {
  uv_poll_t poll;  // not in a thread that blocks
  uv_prepare_t prepare;
  uv_idle_t idle;
  int handles = 0;
  bool blocking = false;
  Poller* poller = nullptr;  // null once the poller is closed
  Closing* closing = nullptr;
  napi_env env = nullptr;
  napi_ref callback = nullptr;
  napi_async_context context = nullptr;
  bool calling = false;
  bool soon = false;  // another turn was asked for
};

namespace {

void closingDone(Closing* closing) {
  if (!closing->ending || closing->open > 0) return;
  napi_remove_async_cleanup_hook(closing->hook);
  delete closing;
}

void forget(Watch* watch) {
  if (watch->callback != nullptr) napi_delete_reference(watch->env, watch->callback);
  if (watch->context != nullptr) napi_async_destroy(watch->env, watch->context);
  watch->callback = nullptr;
  watch->context = nullptr;
}

enum class After {
  kSleep,
  kTurn,  // another one at once
  kLoop,  // the loop has to run first: JavaScript threw or cannot run, for its thread is ending
};

// One turn of JavaScript; microtasks and ticks run after it.
After turn(Watch* watch, int32_t pairs) {
  napi_env env = watch->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return After::kLoop;
  napi_value callback;
  napi_value receiver;
  napi_value count;
  napi_value result = nullptr;
  napi_get_reference_value(env, watch->callback, &callback);
  napi_get_global(env, &receiver);
  napi_create_int32(env, std::max(pairs, 0), &count);
  watch->calling = true;
  watch->soon = false;
  napi_status status = napi_make_callback(env, watch->context, receiver, callback, 1, &count, &result);
  watch->calling = false;
  After after = After::kSleep;
  bool more = false;
  if (status == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
    if (watch->blocking) after = After::kLoop;
  } else if (status != napi_ok) {
    after = After::kLoop;
  } else if (napi_get_value_bool(env, result, &more) == napi_ok && more) {
    // What returns nothing has nothing more to do.
    after = After::kTurn;
  }
  if (watch->poller == nullptr) forget(watch);  // the callback closed its own poller
  napi_close_handle_scope(env, scope);
  return after == After::kSleep && watch->soon ? After::kTurn : after;
}

void noOperation(uv_idle_t*) {}

void onPrepare(uv_prepare_t* handle);

void turnSoon(Watch* watch) {
  watch->soon = true;
  uv_idle_start(&watch->idle, noOperation);
  uv_prepare_start(&watch->prepare, onPrepare);
}

// A turn on a loop that sleeps by itself.
void watchedTurn(Watch* watch) {
  After after = turn(watch, harvest(watch->poller, 0).pairs);
  if (watch->poller == nullptr) return;
  if (after != After::kSleep) {
    turnSoon(watch);
    return;
  }
  uv_idle_stop(&watch->idle);
  uv_prepare_stop(&watch->prepare);
  armTimer(watch->poller);
}

// When the loop has to run for its own sake: ns of CLOCK_MONOTONIC, 0 for at once. Our idle handle, which says "at
// once" for ever, is out of the way meanwhile.
double loopDeadline(Watch* watch) {
  uv_loop_t* loop = watch->prepare.loop;
  uv_idle_stop(&watch->idle);
  uv_update_time(loop);
  int timeout = uv_backend_timeout(loop);
  uv_idle_start(&watch->idle, noOperation);
  if (timeout < 0) return std::numeric_limits<double>::infinity();
  return timeout == 0 ? 0 : monotonicNow() + timeout * 1e6;
}

void blockingTurns(Watch* watch) {
  Harvest found = harvest(watch->poller, 0);
  for (;;) {
    After after = turn(watch, found.pairs);
    if (watch->poller == nullptr || after == After::kLoop || found.loop) return;
    double limit = loopDeadline(watch);
    if (limit == 0) return;
    found = harvest(watch->poller, after == After::kTurn ? 0 : std::min(limit, watch->poller->deadline()));
  }
}

void onPrepare(uv_prepare_t* handle) {
  Watch* watch = static_cast<Watch*>(handle->data);
  if (watch->poller == nullptr) return;
  if (watch->blocking) {
    blockingTurns(watch);
  } else {
    watchedTurn(watch);
  }
}

void onReadable(uv_poll_t* handle, int, int) {
  Watch* watch = static_cast<Watch*>(handle->data);
  // With a turn to come anyway, that one takes it.
  if (watch->poller == nullptr || uv_is_active(reinterpret_cast<uv_handle_t*>(&watch->prepare))) return;
  watchedTurn(watch);
}

void onClosed(uv_handle_t* handle) {
  Watch* watch = static_cast<Watch*>(handle->data);
  Closing* closing = watch->closing;
  if (--watch->handles == 0) delete watch;
  closing->open--;
  closingDone(closing);
}

template <typename Handle>
void opened(Watch* watch, Handle* handle) {
  handle->data = watch;
  watch->handles++;
  watch->closing->open++;
}

template <typename Visit>
void eachHandle(Watch* watch, Visit visit) {
  visit(reinterpret_cast<uv_handle_t*>(&watch->prepare));
  visit(reinterpret_cast<uv_handle_t*>(&watch->idle));
  if (!watch->blocking) visit(reinterpret_cast<uv_handle_t*>(&watch->poll));
}

// Hooks the watch into the loop; 0 or -errno, with the name of the call.
int hook(Watch* watch, uv_loop_t* loop, const char** call) {
  int error = 0;
  if (watch->blocking) {
    *call = "epoll_ctl(ADD)";
    if (!addLoop(watch->poller->epoll, uv_backend_fd(loop))) return -errno;
  } else {
    *call = "uv_poll_init";
    error = uv_poll_init(loop, &watch->poll, watch->poller->epoll);
    if (error != 0) return error;
    opened(watch, &watch->poll);
  }
  // These cannot fail.
  uv_prepare_init(loop, &watch->prepare);
  uv_idle_init(loop, &watch->idle);
  opened(watch, &watch->prepare);
  opened(watch, &watch->idle);
  if (watch->blocking) {
    turnSoon(watch);
  } else {
    *call = "uv_poll_start";
    error = uv_poll_start(&watch->poll, UV_READABLE, onReadable);
  }
  return error;
}

napi_value pollerWatch(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  Poller* poller = needPoller(env, call.self, call.integer(0));
  if (poller == nullptr) return nullptr;
  Failure failure;
  napi_valuetype type;
  if (napi_typeof(env, call.values[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "turn must be a function");
    return nullptr;
  }
  bool blocking;
  if (!readBoolean(env, call.values[2], "blocking", &blocking)) return nullptr;
  if (poller->watch != nullptr) {
    failure.set(EBUSY, "pollerWatch");
    return throwFailure(env, failure);
  }
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  Watch* watch = new Watch;
  watch->poller = poller;
  watch->env = env;
  watch->closing = call.self->closing;
  watch->blocking = blocking && watch->closing->blocker == nullptr;
  const char* failed = "";
  int error = hook(watch, loop, &failed);
  if (error != 0) {
    if (watch->handles > 0) {
      endWatch(watch);
    } else {
      delete watch;
    }
    failure.set(-error, failed);
    return throwFailure(env, failure);
  }
  poller->watch = watch;
  if (watch->blocking) watch->closing->blocker = watch;
  napi_value name;
  napi_create_string_utf8(env, "tunconnector.poller", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &watch->context);
  napi_create_reference(env, call.values[1], 1, &watch->callback);
  if (!poller->referenced) eachHandle(watch, uv_unref);
  return nullptr;
}

napi_value pollerRef(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Poller* poller = findPoller(call.self, call.integer(0));
  bool referenced;
  if (!readBoolean(env, call.values[1], "ref", &referenced)) return nullptr;
  if (poller == nullptr) return nullptr;
  poller->referenced = referenced;
  if (poller->watch != nullptr) eachHandle(poller->watch, referenced ? uv_ref : uv_unref);
  return nullptr;
}

napi_value pollerSoon(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Poller* poller = findPoller(call.self, call.integer(0));
  if (poller != nullptr && poller->watch != nullptr) turnSoon(poller->watch);
  return nullptr;
}

void endEnvironment(napi_async_cleanup_hook_handle hook, void* data) {
  Environment* self = static_cast<Environment*>(data);
  Closing* closing = self->closing;
  closing->hook = hook;
  closing->ending = true;
  portsCloseAll(self);
  pollersCloseAll(self);
  poolsDetachAll(self);
  descriptorsCloseAll(self);
  closingDone(closing);
}

}  // namespace

void endWatch(Watch* watch) {
  watch->poller = nullptr;
  if (watch->closing->blocker == watch) watch->closing->blocker = nullptr;
  if (!watch->calling) forget(watch);
  eachHandle(watch, [](uv_handle_t* handle) { uv_close(handle, onClosed); });
}

bool beginEnvironment(Environment* self) {
  self->closing = new Closing;
  return napi_add_async_cleanup_hook(self->env, endEnvironment, self, nullptr) == napi_ok;
}

void definePollerLoop(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "pollerWatch", pollerWatch);
  defineFunction(env, exports, self, "pollerRef", pollerRef);
  defineFunction(env, exports, self, "pollerSoon", pollerSoon);
}
