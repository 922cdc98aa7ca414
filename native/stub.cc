// Built where there is no Linux, so that installing the package does not fail there; src/native/load.ts never loads it.
#include <node_api.h>

NAPI_MODULE_INIT() {
  (void)env;
  return exports;
}
