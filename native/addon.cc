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
  definePorts(env, exports, self);
  defineTun(env, exports, self);
  defineUdp(env, exports, self);
  definePacketSocket(env, exports, self);
  defineInterface(env, exports, self);
  defineTcp(env, exports, self);
  definePoller(env, exports, self);
  defineBytes(env, exports, self);
  return exports;
}
