// The memory of one packet pool as native code sees it: pointers into the arrays that src/engine/pool.ts lays out.
// One thread owns a pool, so nothing here is atomic. What JavaScript can have written is checked before it is
// used as an index.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <vector>

constexpr int32_t kCacheLine = 64;
// 33 cache lines: 2048 apart, every packet's first bytes would share two of a first-level cache's 64 sets.
constexpr int32_t kSmallSlot = 2112;
constexpr int32_t kLargeSlot = 68 * 1024;
constexpr int32_t kHeadroom = 128;
constexpr int32_t kSmallRoom = kSmallSlot - kHeadroom;
constexpr int32_t kLargeRoom = kLargeSlot - kHeadroom;

// A descriptor is a row of cells, one cache line; a handle is the number of its first cell. Where the columns are in
// a row stands in src/native/binding.ts as well.
constexpr int32_t kDescriptorCells = 16;
enum DescriptorCell : int32_t {
  kCellSlot,
  kCellOffset,
  kCellLength,
  kCellSegments,
  kCellLayer,
  kCellL3Offset,
  kCellPrefixLength,
  kCellSegmentSize,
  kCellGsoType,
  kCellChecksumStart,
  kCellChecksumOffset,
  kCellPeer,
  kCellTrafficClass,
  kCellFlags,
  kCellState,
};

constexpr uint8_t kChecksumValid = 1;
constexpr uint8_t kMayFragment = 2;

// The ring of a link, a power of two long, and what its link has counted: wire packets, bytes.
struct Ring {
  int32_t* handles = nullptr;
  uint32_t capacity = 0;
  double* counts = nullptr;
  napi_ref held[2] = {};
};

// Wire packets and bytes.
struct Tally {
  int64_t packets = 0;
  int64_t bytes = 0;
};

// The bytes of packets that are made alike.
struct Content {
  const uint8_t* bytes = nullptr;
  int32_t size = 0;
  int32_t before = 0;  // how many of them lie in front of a packet's first
  int64_t slack = 0;   // how many more there are to read, and room for in a fresh slot
  void copyTo(uint8_t* first) const;
};

// What a quota leaves; both are JavaScript's numbers and may be anything.
inline int32_t quotaLeft(int32_t quota, int32_t used) {
  int64_t room = int64_t{quota} - used;
  return room > INT32_MAX ? INT32_MAX : room < 0 ? 0 : static_cast<int32_t>(room);
}

struct Pool {
  static constexpr int kArrays = 14;

  uint8_t* slab = nullptr;
  int32_t smallSlots = 0;
  int32_t largeSlots = 0;
  int32_t stride = 0;
  int32_t cells = 0;  // of all descriptors
  int32_t accounts = 0;
  int32_t descriptorStack = 0;  // cells of freeDescriptors after the count

  int32_t* descriptors = nullptr;
  // Columns by handle, into the descriptors.
  int32_t* slot = nullptr;
  int32_t* offset = nullptr;
  int32_t* length = nullptr;
  int32_t* segments = nullptr;
  int32_t* layer = nullptr;
  int32_t* l3Offset = nullptr;
  int32_t* prefixLength = nullptr;
  int32_t* segmentSize = nullptr;
  int32_t* gsoType = nullptr;
  int32_t* checksumStart = nullptr;
  int32_t* checksumOffset = nullptr;
  int32_t* peer = nullptr;
  int32_t* trafficClass = nullptr;
  int32_t* flags = nullptr;
  int32_t* state = nullptr;

  // By slot.
  double* arrived = nullptr;
  int32_t* references = nullptr;
  uint8_t* owner = nullptr;

  int32_t* freeDescriptors = nullptr;
  int32_t* freeSmall = nullptr;
  int32_t* freeLarge = nullptr;

  int32_t* usedSmall = nullptr;
  int32_t* quotaSmall = nullptr;
  int32_t* usedLarge = nullptr;
  int32_t* quotaLarge = nullptr;

  double* tally = nullptr;  // wire packets, bytes
  int32_t* cut = nullptr;   // what `segment` made
  size_t cutCells = 0;

  // By number; one without handles is nobody's.
  std::vector<Ring> rings;

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

  // What src/engine/pool.ts does one by one. Handles that are not live are passed over (freed) or end the burst.
  int32_t makeBurst(const int32_t* pattern, double at, int32_t account, int32_t* into, int32_t n,
                    const Content& content);
  int32_t allocateBurst(int32_t account, int32_t* into, int32_t n);
  int32_t cloneBurst(const int32_t* from, int32_t n, int32_t* into, Tally* tally);
  // The same, and the originals into `also`.
  int32_t splitBurst(const int32_t* from, int32_t n, int32_t* into, int32_t* also, Tally* tally);
  int32_t copyOne(int32_t handle);
  int32_t copyBurst(const int32_t* from, int32_t n, int32_t* into, Tally* tally);
  int32_t stampBurst(int32_t pattern, int32_t* into, int32_t n, Tally* tally);
  void freeBurst(const int32_t* handles, int32_t n, Tally* tally);
  void moveBurst(const int32_t* handles, int32_t n, int32_t* into, Tally* tally);

  Ring* ring(int32_t number) {
    if (number < 0 || static_cast<size_t>(number) >= rings.size()) return nullptr;
    return rings[static_cast<size_t>(number)].handles == nullptr ? nullptr : &rings[static_cast<size_t>(number)];
  }

  // The count of a free stack, or 0 when JavaScript has left nonsense there.
  static int32_t stackCount(const int32_t* stack, int32_t capacity) {
    int32_t count = stack[0];
    return count > 0 && count <= capacity ? count : 0;
  }

  // Whether a handle from JavaScript names a row.
  bool known(int32_t handle) const {
    return handle >= 0 && handle < cells && handle % kDescriptorCells == 0;
  }
  // Whether it names a live row whose slot is one.
  bool live(int32_t handle) const {
    if (!known(handle) || state[handle] != 1) return false;
    int32_t s = slot[handle];
    return s >= 0 && s < slots() && references[s] >= 1;
  }
  // Whether a handle from JavaScript names a live row whose bytes (and prefix) lie inside its slot.
  bool valid(int32_t handle) const;
  // When its bytes came in; 0 for what names no slot.
  double arrivedAt(int32_t handle) const {
    int32_t s = slot[handle];
    return s >= 0 && s < slots() ? arrived[s] : 0;
  }
  bool shared(int32_t handle) const { return references[slot[handle]] > 1; }
  uint8_t* bytes(int32_t handle) const { return slab + offset[handle]; }
};

// Segments 1, checksumStart and peer -1, live; everything else 0.
constexpr int32_t kFreshDescriptor[kDescriptorCells] = {0, 0, 0, 1, 0, 0, 0, 0, 0, -1, 0, -1, 0, 0, 1, 0};

// The rings of a pool that ends, or no longer does bursts.
void poolForgetRings(napi_env env, Pool* pool);
// Drops one user; frees the structure when it was the last and JavaScript has let go.
void poolRelease(napi_env env, Pool* pool);
