#include "port.h"

#include <time.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"

double monotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

Counter counterOfSendError(int error) {
  switch (error) {
    case EMSGSIZE:
      return kTxTooLong;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case ENXIO:
    case ENODEV:
      return kTxUnreachable;
    case ECONNREFUSED:
      return kTxRefused;
    case EIO:
      return kTxDown;
    default:
      return kTxInvalid;
  }
}

bool Port::usable() {
  uint32_t now = descriptorClosings();
  if (now != closings) {
    closings = now;
    if (serial != 0 && descriptorSerial(fd) != serial) fd = -1;
  }
  return fd >= 0;
}

void Port::drop(int32_t handle, Counter why) {
  // A handle that is no packet cannot be freed either: only counted.
  if (!pool->valid(handle)) {
    count(kTxInvalid);
    return;
  }
  int32_t segments = pool->segments[handle];
  count(why, segments > 1 ? segments : 1);
  pool->free(handle);
}

void Port::countReceived(int32_t packets, double bytes, bool superframe) {
  counters[kRxPackets] += packets;
  counters[kRxBytes] += bytes;
  if (superframe) counters[kRxSuperframes]++;
}

const uint8_t* withChecksum(Pool* pool, int32_t handle, uint8_t* scratch) {
  if (pool->checksumStart[handle] < 0) return pool->bytes(handle);
  if (!pool->shared(handle)) return completeChecksum(pool, handle) ? pool->bytes(handle) : nullptr;
  uint32_t length = static_cast<uint32_t>(pool->length[handle]);
  uint32_t start = static_cast<uint32_t>(pool->checksumStart[handle]);
  uint32_t offset = static_cast<uint32_t>(pool->checksumOffset[handle]);
  memcpy(scratch, pool->bytes(handle), length);
  return completeChecksum(scratch, length, start, offset) ? scratch : nullptr;
}

bool preparePort(Port* port, Environment* self, napi_value pool, napi_value fd, napi_value options) {
  napi_env env = self->env;
  int64_t id;
  int64_t descriptor;
  int64_t account;
  void* batch;
  void* counters;
  size_t batchLength;
  size_t counterLength;
  if (!readInteger(env, pool, "pool", INT32_MIN, INT32_MAX, &id)) return false;
  Pool* memory = self->pools.find(static_cast<int32_t>(id));
  if (memory == nullptr) {
    Failure failure;
    failure.set(EBADF, "pool");
    throwFailure(env, failure);
    return false;
  }
  // From here on the port is a user of the pool: reading the options may run getters, and one may detach it.
  port->self = self;
  port->pool = memory;
  memory->users++;
  if (!readInteger(env, fd, "fd", 0, INT32_MAX, &descriptor)) return false;
  if (!fieldTypedArray(env, options, "batch", napi_int32_array, &batch, &batchLength, &port->held[0])) return false;
  if (!fieldTypedArray(env, options, "counters", napi_float64_array, &counters, &counterLength, &port->held[1])) {
    return false;
  }
  if (counterLength < kPortCounters) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "counters must have PORT_COUNTERS cells");
    return false;
  }
  if (!fieldInteger(env, options, "account", 0, memory->accounts - 1, &account)) return false;
  if (!fieldNumber(env, options, "epoch", &port->epoch)) return false;

  port->fd = static_cast<int>(descriptor);
  port->closings = descriptorClosings();
  port->serial = descriptorSerial(port->fd);
  port->account = static_cast<int32_t>(account);
  port->batch = static_cast<int32_t*>(batch);
  port->batchLength = static_cast<int32_t>(batchLength < INT32_MAX ? batchLength : INT32_MAX);
  port->counters = static_cast<double*>(counters);
  return true;
}

void discardPort(Port* port) {
  if (port->self != nullptr) {
    napi_env env = port->self->env;
    for (napi_ref reference : port->held) {
      if (reference != nullptr) napi_delete_reference(env, reference);
    }
    poolRelease(env, port->pool);
  }
  delete port;
}

napi_value finishPort(Port* port) {
  napi_env env = port->self->env;
  int32_t id = port->self->ports.add(port);
  if (id >= 0) return makeInteger(env, id);
  discardPort(port);
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "too many ports");
  return nullptr;
}

namespace {

napi_value receive(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Port* port = call.self->ports.find(call.integer(0));
  if (port == nullptr || !port->usable()) return makeInteger(env, -EBADF);
  int32_t max = call.integer(1);
  if (max < 0) return makeInteger(env, -EINVAL);
  if (max > port->batchLength) max = port->batchLength;
  if (max == 0) return makeInteger(env, 0);
  port->counters[kRxDrained] = 0;
  int32_t n = port->receive(max);
  if (n > 0) {
    port->count(kRxBursts);
  } else if (n == -ENOBUFS) {
    port->count(kRxNoMemory);
  }
  return makeInteger(env, n);
}

napi_value send(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Port* port = call.self->ports.find(call.integer(0));
  if (port == nullptr || !port->usable()) return makeInteger(env, -EBADF);
  int32_t n = call.integer(1);
  if (n < 0 || n > port->batchLength) return makeInteger(env, -EINVAL);
  if (n == 0) return makeInteger(env, 0);
  port->count(kTxBursts);
  return makeInteger(env, port->send(n));
}

napi_value portStatistics(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Port* port = call.self->ports.find(call.integer(0));
  if (port != nullptr && port->usable()) port->statistics();
  return nullptr;
}

napi_value portClose(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Port* port = call.self->ports.remove(call.integer(0));
  if (port != nullptr) discardPort(port);
  return nullptr;
}

napi_value pinRow(napi_env env, napi_callback_info info, bool pin) {
  Arguments<2> call(env, info);
  Port* port = call.self->ports.find(call.integer(0));
  int32_t row = call.integer(1);
  if (port != nullptr && (pin ? port->pin(row) : port->unpin(row))) return nullptr;
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "no such UDP port, or no such pinned row");
  return nullptr;
}

napi_value addressPin(napi_env env, napi_callback_info info) { return pinRow(env, info, true); }
napi_value addressUnpin(napi_env env, napi_callback_info info) { return pinRow(env, info, false); }

napi_value closeFd(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int64_t fd;
  if (!readInteger(env, call.values[0], "fd", 0, INT32_MAX, &fd)) return nullptr;
  if (!descriptorClose(static_cast<int>(fd))) {
    Failure failure;
    failure.set(EBADF, "close");
    return throwFailure(env, failure);
  }
  return nullptr;
}

}  // namespace

void portsCloseAll(Environment* self) {
  self->ports.each(discardPort);
  self->ports.clear();
}

void definePorts(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "receive", receive);
  defineFunction(env, exports, self, "send", send);
  defineFunction(env, exports, self, "portStatistics", portStatistics);
  defineFunction(env, exports, self, "portClose", portClose);
  defineFunction(env, exports, self, "addressPin", addressPin);
  defineFunction(env, exports, self, "addressUnpin", addressUnpin);
  defineFunction(env, exports, self, "close", closeFd);
}
