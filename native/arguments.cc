#include "arguments.h"

#include <uv.h>

#include <cstdio>
#include <cstring>

int Failure::set(int errorNumber, const char* systemCall, const char* onWhat) {
  error = errorNumber;
  call = systemCall;
  snprintf(subject, sizeof subject, "%s", onWhat);
  return -1;
}

static bool reject(napi_env env, const char* name, const char* expected) {
  char message[160];
  snprintf(message, sizeof message, "%s must be %s", name, expected);
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return false;
}

bool readNumber(napi_env env, napi_value value, const char* name, double* out) {
  if (napi_get_value_double(env, value, out) == napi_ok && *out == *out) return true;
  return reject(env, name, "a number");
}

bool readInteger(napi_env env, napi_value value, const char* name, int64_t min, int64_t max, int64_t* out) {
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok && number >= static_cast<double>(min) &&
      number <= static_cast<double>(max)) {
    *out = static_cast<int64_t>(number);
    if (static_cast<double>(*out) == number) return true;
  }
  char expected[96];
  snprintf(expected, sizeof expected, "an integer from %lld to %lld", static_cast<long long>(min),
           static_cast<long long>(max));
  return reject(env, name, expected);
}

bool readBoolean(napi_env env, napi_value value, const char* name, bool* out) {
  if (napi_get_value_bool(env, value, out) == napi_ok) return true;
  return reject(env, name, "a boolean");
}

bool readString(napi_env env, napi_value value, const char* name, char* out, size_t capacity) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) {
    return reject(env, name, "a string");
  }
  if (length >= capacity) {
    char expected[64];
    snprintf(expected, sizeof expected, "at most %zu bytes long", capacity - 1);
    return reject(env, name, expected);
  }
  napi_get_value_string_utf8(env, value, out, capacity, &length);
  if (strlen(out) != length) return reject(env, name, "without NUL bytes");
  return true;
}

bool readTypedArray(napi_env env, napi_value value, const char* name, napi_typedarray_type type, void** data,
                    size_t* length) {
  static const char* const names[] = {"Int8Array",    "Uint8Array",  "Uint8ClampedArray", "Int16Array",
                                      "Uint16Array",  "Int32Array",  "Uint32Array",       "Float32Array",
                                      "Float64Array", "BigInt64Array", "BigUint64Array"};
  napi_typedarray_type found;
  if (napi_get_typedarray_info(env, value, &found, length, data, nullptr, nullptr) == napi_ok && found == type) {
    return true;
  }
  return reject(env, name, names[type]);
}

bool readBytes(napi_env env, napi_value value, const char* name, Bytes* out) {
  void* data = nullptr;
  if (!readTypedArray(env, value, name, napi_uint8_array, &data, &out->length)) return false;
  out->data = static_cast<uint8_t*>(data);
  return true;
}

// The field as a value, or undefined, which the readers then refuse by name.
static napi_value field(napi_env env, napi_value object, const char* name) {
  napi_value value = nullptr;
  if (napi_get_named_property(env, object, name, &value) == napi_ok) return value;
  napi_value ignored;
  bool pending = false;
  // A getter's exception, or a receiver that is no object: the caller reports the field instead.
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) {
    napi_get_and_clear_last_exception(env, &ignored);
  }
  napi_get_undefined(env, &value);
  return value;
}

bool fieldPresent(napi_env env, napi_value object, const char* name) {
  napi_valuetype type = napi_undefined;
  return napi_typeof(env, field(env, object, name), &type) == napi_ok && type != napi_undefined;
}

bool fieldInteger(napi_env env, napi_value object, const char* name, int64_t min, int64_t max, int64_t* out) {
  return readInteger(env, field(env, object, name), name, min, max, out);
}

bool fieldNumber(napi_env env, napi_value object, const char* name, double* out) {
  return readNumber(env, field(env, object, name), name, out);
}

bool fieldBoolean(napi_env env, napi_value object, const char* name, bool* out) {
  return readBoolean(env, field(env, object, name), name, out);
}

bool fieldString(napi_env env, napi_value object, const char* name, char* out, size_t capacity) {
  return readString(env, field(env, object, name), name, out, capacity);
}

bool fieldTypedArray(napi_env env, napi_value object, const char* name, napi_typedarray_type type, void** data,
                     size_t* length) {
  return readTypedArray(env, field(env, object, name), name, type, data, length);
}

bool fieldTypedArray(napi_env env, napi_value object, const char* name, napi_typedarray_type type, void** data,
                     size_t* length, napi_ref* held) {
  napi_value array = field(env, object, name);
  if (!readTypedArray(env, array, name, type, data, length)) return false;
  return napi_create_reference(env, array, 1, held) == napi_ok || reject(env, name, "an array that can be kept");
}

napi_value throwFailure(napi_env env, const Failure& failure) {
  // libuv's names and texts, and its negative numbers, are those of Node's own errors.
  char name[32];
  char text[128];
  char message[512];
  uv_err_name_r(-failure.error, name, sizeof name);
  uv_strerror_r(-failure.error, text, sizeof text);
  if (failure.subject[0] != '\0') {
    snprintf(message, sizeof message, "%s: %s, %s \"%s\"", name, text, failure.call, failure.subject);
  } else {
    snprintf(message, sizeof message, "%s: %s, %s", name, text, failure.call);
  }
  napi_value code;
  napi_value description;
  napi_value error;
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code);
  napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &description);
  napi_create_error(env, code, description, &error);
  setInteger(env, error, "errno", -failure.error);
  setString(env, error, "syscall", failure.call);
  napi_throw(env, error);
  return nullptr;
}

napi_value makeInteger(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value makeNumber(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

void setInteger(napi_env env, napi_value object, const char* name, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  napi_set_named_property(env, object, name, result);
}

void setBoolean(napi_env env, napi_value object, const char* name, bool value) {
  napi_value result;
  napi_get_boolean(env, value, &result);
  napi_set_named_property(env, object, name, result);
}

void setString(napi_env env, napi_value object, const char* name, const char* value) {
  napi_value result;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &result);
  napi_set_named_property(env, object, name, result);
}
