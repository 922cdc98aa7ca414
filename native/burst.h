// An Int32Array of packet handles as an argument.
#pragma once

#include <node_api.h>

#include <cstdint>

// Handles from JavaScript, or for it: never more than the array holds.
struct Burst {
  int32_t* handles = nullptr;
  size_t capacity = 0;

  bool read(napi_env env, napi_value value) {
    napi_typedarray_type type;
    void* data = nullptr;
    if (napi_get_typedarray_info(env, value, &type, &capacity, &data, nullptr, nullptr) != napi_ok) return false;
    handles = static_cast<int32_t*>(data);
    return type == napi_int32_array;
  }
  bool holds(int32_t n) const { return n >= 0 && static_cast<size_t>(n) <= capacity; }
};
