// Registration. One Environment per main thread or worker; nothing is shared between them but what is documented so.
#include <node_api.h>

#include "environment.h"

static void freeEnvironment(napi_env, void* data, void*) { delete static_cast<Environment*>(data); }

NAPI_MODULE_INIT() {
  Environment* self = new Environment;
  self->env = env;
  if (napi_set_instance_data(env, self, freeEnvironment, nullptr) != napi_ok || !beginEnvironment(self)) {
    napi_throw_error(env, nullptr, "the addon could not be set up");
    return nullptr;
  }
  definePool(env, exports, self);
  definePoolBursts(env, exports, self);
  definePoolRings(env, exports, self);
  defineMerge(env, exports, self);
  definePorts(env, exports, self);
  defineDescriptors(env, exports, self);
  defineTun(env, exports, self);
  defineUdp(env, exports, self);
  defineUdpLoop(env, exports, self);
  definePing(env, exports, self);
  definePacketSocket(env, exports, self);
  defineInterface(env, exports, self);
  defineTcp(env, exports, self);
  definePoller(env, exports, self);
  defineBytes(env, exports, self);
  defineMemoryKeeper(env, exports, self);
  return exports;
}

// What `new T[n]` calls when n overflows. Where libstdc++ has it, it binds the addon to GLIBCXX 3.4.29 (GCC 11) for
// the sake of a throw that is an abort under -fno-exceptions anyway.
namespace std {
[[noreturn]] void __throw_bad_array_new_length() { __builtin_abort(); }
}  // namespace std
