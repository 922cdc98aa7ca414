// Checksums over bytes of JavaScript's.
#include "arguments.h"
#include "offload.h"

namespace {

napi_value checksumOf(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  Bytes bytes;
  int64_t offset;
  int64_t length;
  int64_t initial;
  if (!readBytes(env, call.values[0], "bytes", &bytes)) return nullptr;
  int64_t size = static_cast<int64_t>(bytes.length);
  if (!readInteger(env, call.values[1], "offset", 0, size, &offset)) return nullptr;
  if (!readInteger(env, call.values[2], "length", 0, size - offset, &length)) return nullptr;
  if (!readInteger(env, call.values[3], "initial", 0, INT64_C(1) << 53, &initial)) return nullptr;
  return makeInteger(env, checksum(bytes.data + offset, static_cast<uint64_t>(length), static_cast<uint64_t>(initial)));
}

}  // namespace

void defineBytes(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "checksum", checksumOf);
}
