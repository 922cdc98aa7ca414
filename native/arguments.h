// Reading arguments from JavaScript and giving results back, over the plain C Node-API.
#pragma once

#include <node_api.h>

#include <cstdint>

#include "environment.h"
#include "failure.h"

// The arguments of one call and the environment it came from.
template <size_t Count>
struct Arguments {
  napi_env env;
  Environment* self = nullptr;
  napi_value values[Count > 0 ? Count : 1];

  Arguments(napi_env environment, napi_callback_info info) : env(environment) {
    size_t count = Count;
    void* data = nullptr;
    napi_get_cb_info(environment, info, &count, values, nullptr, &data);
    self = static_cast<Environment*>(data);
  }

  // An integer for the data path: what is no number, or no integer, becomes INT32_MIN, which no port, handle
  // or count is.
  int32_t integer(size_t index) const {
    double number;
    if (napi_get_value_double(env, values[index], &number) != napi_ok) return INT32_MIN;
    if (!(number >= -2147483647.0 && number <= 2147483647.0)) return INT32_MIN;
    int32_t whole = static_cast<int32_t>(number);
    return whole == number ? whole : INT32_MIN;
  }
};

// A typed array's memory. Works over ArrayBuffer and SharedArrayBuffer.
struct Bytes {
  uint8_t* data = nullptr;
  size_t length = 0;
};

// Each returns false after it has thrown a TypeError into JavaScript that names the argument.
bool readInteger(napi_env env, napi_value value, const char* name, int64_t min, int64_t max, int64_t* out);
bool readNumber(napi_env env, napi_value value, const char* name, double* out);
bool readBoolean(napi_env env, napi_value value, const char* name, bool* out);
bool readString(napi_env env, napi_value value, const char* name, char* out, size_t capacity);
bool readTypedArray(napi_env env, napi_value value, const char* name, napi_typedarray_type type, void** data,
                    size_t* length);
bool readBytes(napi_env env, napi_value value, const char* name, Bytes* out);

// The same for the fields of an options object.
bool fieldInteger(napi_env env, napi_value object, const char* name, int64_t min, int64_t max, int64_t* out);
bool fieldNumber(napi_env env, napi_value object, const char* name, double* out);
bool fieldBoolean(napi_env env, napi_value object, const char* name, bool* out);
bool fieldString(napi_env env, napi_value object, const char* name, char* out, size_t capacity);
bool fieldTypedArray(napi_env env, napi_value object, const char* name, napi_typedarray_type type, void** data,
                     size_t* length);
// The same, and holds on to the array that was read: a getter may give another one the next time.
bool fieldTypedArray(napi_env env, napi_value object, const char* name, napi_typedarray_type type, void** data,
                     size_t* length, napi_ref* held);
// Whether the object has the field and it is not undefined.
bool fieldPresent(napi_env env, napi_value object, const char* name);

// Throws an Error with `code`, `errno` and `syscall`; returns nullptr, to be returned to JavaScript.
napi_value throwFailure(napi_env env, const Failure& failure);

napi_value makeInteger(napi_env env, int32_t value);
napi_value makeNumber(napi_env env, double value);
void setInteger(napi_env env, napi_value object, const char* name, int64_t value);
void setBoolean(napi_env env, napi_value object, const char* name, bool value);
void setString(napi_env env, napi_value object, const char* name, const char* value);
