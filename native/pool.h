// The memory of one packet pool as native code sees it: pointers into the arrays that src/engine/pool.ts lays out.
// One thread owns a pool, so nothing here is atomic. What JavaScript can have written is checked before it is
// used as an index.
#pragma once

#include <node_api.h>

#include <cstdint>

constexpr int32_t kSmallSlot = 2048;
constexpr int32_t kLargeSlot = 68 * 1024;
constexpr int32_t kHeadroom = 128;
constexpr int32_t kSmallRoom = kSmallSlot - kHeadroom;
constexpr int32_t kLargeRoom = kLargeSlot - kHeadroom;

constexpr uint8_t kChecksumValid = 1;
constexpr uint8_t kMayFragment = 2;

struct Pool {
  static constexpr int kArrays = 26;

  uint8_t* slab = nullptr;
  int32_t smallSlots = 0;
  int32_t largeSlots = 0;
  int32_t stride = 0;
  int32_t rows = 0;
  int32_t accounts = 0;
  int32_t descriptorStack = 0;  // cells of freeDescriptors after the count

  int32_t* slot = nullptr;
  int32_t* offset = nullptr;
  int32_t* length = nullptr;
  uint8_t* layer = nullptr;
  uint16_t* l3Offset = nullptr;
  uint16_t* prefixLength = nullptr;
  int32_t* segmentSize = nullptr;
  int32_t* segments = nullptr;
  uint8_t* gsoType = nullptr;
  int32_t* checksumStart = nullptr;
  int32_t* checksumOffset = nullptr;
  int32_t* peer = nullptr;
  uint8_t* trafficClass = nullptr;
  uint8_t* flags = nullptr;
  double* arrival = nullptr;
  uint8_t* state = nullptr;

  int32_t* references = nullptr;
  uint8_t* owner = nullptr;

  int32_t* freeDescriptors = nullptr;
  int32_t* freeSmall = nullptr;
  int32_t* freeLarge = nullptr;

  int32_t* usedSmall = nullptr;
  int32_t* quotaSmall = nullptr;
  int32_t* usedLarge = nullptr;
  int32_t* quotaLarge = nullptr;

  napi_ref held[kArrays] = {};
  // Ports that use it; it stays in memory until the last is closed.
  int32_t users = 0;
  bool detached = false;

  int32_t slots() const { return smallSlots + largeSlots; }
  bool isSmall(int32_t s) const { return s < smallSlots; }
  int64_t slotStart(int32_t s) const {
    return isSmall(s) ? int64_t{s} * kSmallSlot
                      : int64_t{smallSlots} * kSmallSlot + int64_t{s - smallSlots} * kLargeSlot;
  }
  uint8_t* packetArea(int32_t s) const { return slab + slotStart(s) + kHeadroom; }

  // How many small (or large) packets the account can still take in.
  int32_t roomSmall(int32_t account) const;
  int32_t roomLarge(int32_t account) const;

  // Raw slots off and on the free stacks, without accounting. -1 when there is none.
  int32_t takeSmall();
  int32_t takeLarge();
  void giveBack(int32_t slot);

  // A fresh descriptor over a raw slot, charged to the account, every column reset. -1 without a free descriptor.
  int32_t describe(int32_t slot, int32_t account);
  // The two steps in one, for a packet of `bytes`; -1 when the account or the pool has no room,
  // or no slot is that long.
  int32_t allocate(int32_t bytes, int32_t account);
  void free(int32_t handle);

  // For a batch that was checked before the first of it was freed: a handle that stands in it twice is freed once.
  void freeOnce(int32_t handle) {
    if (valid(handle)) free(handle);
  }

  // Whether a handle from JavaScript names a live row whose bytes (and prefix) lie inside its slot.
  bool valid(int32_t handle) const;
  bool shared(int32_t handle) const { return references[slot[handle]] > 1; }
  uint8_t* bytes(int32_t handle) const { return slab + offset[handle]; }
};

// Drops one user; frees the structure when it was the last and JavaScript has let go.
void poolRelease(napi_env env, Pool* pool);
