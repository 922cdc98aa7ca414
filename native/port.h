// A port moves packets between one descriptor and a pool, a batch of handles per call.
#pragma once

#include <node_api.h>

#include <cstdint>

#include "environment.h"
#include "offload.h"
#include "pool.h"

// Cells of a port's counters; PortCounter in src/native/binding.ts documents each.
enum Counter {
  kRxPackets,
  kRxBytes,
  kRxBursts,
  kRxSuperframes,
  kRxNoMemory,
  kRxTruncated,
  kRxInvalid,
  kRxErrors,
  kTxPackets,
  kTxBytes,
  kTxBursts,
  kTxSuperframes,
  kTxAgain,
  kTxTooLong,
  kTxUnreachable,
  kTxRefused,
  kTxDown,
  kTxInvalid,
  kGsoFallbacks,
  kKernelDrops,
};
constexpr size_t kPortCounters = 24;
// Not a counter: 1 when the last receive emptied the descriptor, so that it need not be called again to find that out.
constexpr size_t kRxDrained = kPortCounters - 1;

double monotonicNow();

// Which counter a failed send belongs to; the packet is dropped.
Counter counterOfSendError(int error);

struct Port {
  Environment* self = nullptr;
  Pool* pool = nullptr;
  int fd = -1;
  // Which descriptor `fd` is, and how many had been closed when that was last made sure of.
  uint64_t serial = 0;
  uint32_t closings = 0;
  int32_t account = 0;
  double epoch = 0;
  int32_t* batch = nullptr;
  int32_t batchLength = 0;
  double* counters = nullptr;
  napi_ref held[6] = {};

  virtual ~Port() {}
  virtual int32_t receive(int32_t max) = 0;
  virtual int32_t send(int32_t n) = 0;
  virtual void statistics() {}
  // Rows of the address table; false for a port without one or a row outside.
  virtual bool pin(int32_t) { return false; }
  virtual bool unpin(int32_t) { return false; }

  // False once the descriptor was closed, in this thread or in another: its number may be somebody else's by now.
  bool usable();
  void count(Counter counter, double by = 1) { counters[counter] += by; }
  void tellDrained() { counters[kRxDrained] = 1; }
  double arrivalNow() const { return monotonicNow() - epoch; }
  // Drops a packet of the batch for good.
  void drop(int32_t handle, Counter why);
  void countReceived(int32_t packets, double bytes, bool superframe);
};

// Where a superframe that had to go out in several sends stopped, when the kernel ran out of room in its midst.
// The next call goes on from there, if the caller still holds the same packet.
struct Partial {
  int32_t handle = -1;
  int32_t length = 0;
  double arrival = 0;
  uint32_t segment = 0;

  void remember(const Pool* pool, int32_t which, uint32_t from) {
    handle = which;
    length = pool->length[which];
    arrival = pool->arrivedAt(which);
    segment = from;
  }
  // The first segment still to be sent of this packet; forgets.
  uint32_t resume(const Pool* pool, int32_t which) {
    bool same = which == handle && pool->length[which] == length && pool->arrivedAt(which) == arrival;
    handle = -1;
    return same ? segment : 0;
  }
};

// The bytes of a wire packet with its checksum complete: in place where they are its own, else in `scratch`, which holds
// a large slot. Null when the open checksum does not lie inside the packet.
const uint8_t* withChecksum(Pool* pool, int32_t handle, uint8_t* scratch);

// Reads what every port has: pool, fd, and of the options batch, counters, account, epoch. False after throwing.
bool preparePort(Port* port, Environment* self, napi_value pool, napi_value fd, napi_value options);
// Hands the port to JavaScript, or frees it when that fails.
napi_value finishPort(Port* port);
void discardPort(Port* port);
