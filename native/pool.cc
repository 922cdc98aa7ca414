#include "pool.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "arguments.h"
#include "offload.h"

static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

int32_t Pool::roomSmall(int32_t account) const {
  int32_t room = smaller(stackCount(freeSmall, smallSlots), quotaLeft(quotaSmall[account], usedSmall[account]));
  return smaller(room, stackCount(freeDescriptors, descriptorStack));
}

int32_t Pool::roomLarge(int32_t account) const {
  int32_t room = smaller(stackCount(freeLarge, largeSlots), quotaLeft(quotaLarge[account], usedLarge[account]));
  return smaller(room, stackCount(freeDescriptors, descriptorStack));
}

int32_t Pool::takeSmall() {
  int32_t count = stackCount(freeSmall, smallSlots);
  if (count == 0) return -1;
  int32_t taken = freeSmall[count];
  freeSmall[0] = count - 1;
  return taken >= 0 && taken < smallSlots ? taken : -1;
}

int32_t Pool::takeLarge() {
  int32_t count = stackCount(freeLarge, largeSlots);
  if (count == 0) return -1;
  int32_t taken = freeLarge[count];
  freeLarge[0] = count - 1;
  return taken >= smallSlots && taken < slots() ? taken : -1;
}

void Pool::giveBack(int32_t freed) {
  bool small = isSmall(freed);
  int32_t* stack = small ? freeSmall : freeLarge;
  int32_t capacity = small ? smallSlots : largeSlots;
  if (stack[0] < 0 || stack[0] >= capacity) return;
  stack[++stack[0]] = freed;
}

int32_t Pool::describe(int32_t s, int32_t account) {
  int32_t count = stackCount(freeDescriptors, descriptorStack);
  if (count == 0) return -1;
  int32_t handle = freeDescriptors[count];
  if (!known(handle)) return -1;
  freeDescriptors[0] = count - 1;
  if (isSmall(s)) {
    usedSmall[account]++;
  } else {
    usedLarge[account]++;
  }
  references[s] = 1;
  owner[s] = static_cast<uint8_t>(account);
  int32_t* row = descriptors + handle;
  memcpy(row, kFreshDescriptor, sizeof kFreshDescriptor);
  row[kCellSlot] = s;
  row[kCellOffset] = static_cast<int32_t>(slotStart(s) + kHeadroom);
  arrived[s] = 0;
  return handle;
}

int32_t Pool::allocate(int32_t size, int32_t account) {
  bool small = size <= kSmallRoom;
  if (size > kLargeRoom) return -1;
  if (small ? roomSmall(account) == 0 : roomLarge(account) == 0) return -1;
  int32_t s = small ? takeSmall() : takeLarge();
  if (s < 0) return -1;
  int32_t handle = describe(s, account);
  if (handle < 0) giveBack(s);
  return handle;
}

void Pool::free(int32_t handle) {
  int32_t s = slot[handle];
  state[handle] = 0;
  if (stride > 0) length[handle] = -1;  // a stale reader gets nonsense at once
  if (freeDescriptors[0] >= 0 && freeDescriptors[0] < descriptorStack) {
    int32_t next = stride > 0 ? static_cast<int32_t>((int64_t{handle} + stride) % cells) : handle;
    freeDescriptors[++freeDescriptors[0]] = next;
  }
  if (--references[s] != 0) return;
  int32_t account = owner[s];
  if (account < accounts) {
    if (isSmall(s)) {
      usedSmall[account]--;
    } else {
      usedLarge[account]--;
    }
  }
  giveBack(s);
}

bool Pool::valid(int32_t handle) const {
  if (!live(handle)) return false;
  int32_t s = slot[handle];
  int64_t start = slotStart(s);
  int64_t end = start + (isSmall(s) ? kSmallSlot : kLargeSlot);
  int64_t from = offset[handle];
  int64_t size = length[handle];
  // Columns of 32 bits: offsets that no header can have would overflow in sums.
  if (prefixLength[handle] < 0 || l3Offset[handle] < 0 || l3Offset[handle] > kLargeSlot) return false;
  return size >= 0 && from - prefixLength[handle] >= start && from + size <= end;
}

// ── JavaScript's side

namespace {

void unhold(napi_env env, Pool* pool) {
  poolForgetRings(env, pool);
  for (napi_ref& reference : pool->held) {
    if (reference != nullptr) napi_delete_reference(env, reference);
    reference = nullptr;
  }
}

// Reads the arrays of a PoolMemory one by one and holds on to each. After the first that does not fit it reads
// no further and `ok` is false, with an exception pending.
struct MemoryReader {
  napi_env env;
  napi_value memory;
  Pool* pool;
  bool ok = true;
  int count = 0;
  size_t length = 0;

  // At least `least` cells long, and at most `most`.
  template <typename Cell>
  void read(Cell** into, const char* name, size_t least, size_t most) {
    if (!ok) return;
    void* data = nullptr;
    napi_value array;
    ok = fieldTypedArray(env, memory, name, typeOf(*into), &data, &length);
    if (!ok) return;
    if (length < least || length > most) {
      char message[128];
      snprintf(message, sizeof message, "%s has %zu cells and needs %zu to %zu", name, length, least, most);
      napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
      ok = false;
      return;
    }
    *into = static_cast<Cell*>(data);
    // The array must outlive the pool whatever JavaScript does with the object that named it.
    ok = napi_get_named_property(env, memory, name, &array) == napi_ok &&
         napi_create_reference(env, array, 1, &pool->held[count++]) == napi_ok;
  }

  static napi_typedarray_type typeOf(uint8_t*) { return napi_uint8_array; }
  static napi_typedarray_type typeOf(uint16_t*) { return napi_uint16_array; }
  static napi_typedarray_type typeOf(int32_t*) { return napi_int32_array; }
  static napi_typedarray_type typeOf(double*) { return napi_float64_array; }
};

bool readMemory(napi_env env, napi_value memory, Pool* pool) {
  int64_t small;
  int64_t large;
  int64_t stride;
  if (!fieldInteger(env, memory, "smallSlots", 0, INT32_MAX / kSmallSlot, &small)) return false;
  if (!fieldInteger(env, memory, "largeSlots", 0, INT32_MAX / kLargeSlot, &large)) return false;

  const size_t any = INT32_MAX;
  const size_t slots = static_cast<size_t>(small + large);
  MemoryReader reader{env, memory, pool};
  reader.read(&pool->slab, "slab", static_cast<size_t>(small * kSmallSlot + large * kLargeSlot), any);

  reader.read(&pool->descriptors, "descriptors", kDescriptorCells, any / 2);
  const size_t cells = reader.length;
  if (reader.ok && cells % kDescriptorCells != 0) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "descriptors are rows of 16 cells");
    return false;
  }

  reader.read(&pool->arrived, "arrived", slots, any);
  reader.read(&pool->references, "references", slots, any);
  reader.read(&pool->owner, "owner", slots, any);
  reader.read(&pool->freeDescriptors, "freeDescriptors", 1, cells / kDescriptorCells + 1);
  pool->descriptorStack = static_cast<int32_t>(reader.length - 1);
  reader.read(&pool->freeSmall, "freeSmall", static_cast<size_t>(small) + 1, any);
  reader.read(&pool->freeLarge, "freeLarge", static_cast<size_t>(large) + 1, any);

  reader.read(&pool->usedSmall, "usedSmall", 1, 256);
  const size_t accounts = reader.length;
  reader.read(&pool->quotaSmall, "quotaSmall", accounts, accounts);
  reader.read(&pool->usedLarge, "usedLarge", accounts, accounts);
  reader.read(&pool->quotaLarge, "quotaLarge", accounts, accounts);
  reader.read(&pool->tally, "tally", 2, 2);
  reader.read(&pool->cut, "cut", 1, kMaxSegments);
  pool->cutCells = reader.length;
  if (!reader.ok || !fieldInteger(env, memory, "stride", 0, static_cast<int64_t>(cells), &stride)) return false;
  if (stride % kDescriptorCells != 0) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "stride is a number of whole descriptors");
    return false;
  }

  pool->smallSlots = static_cast<int32_t>(small);
  pool->largeSlots = static_cast<int32_t>(large);
  pool->stride = static_cast<int32_t>(stride);
  pool->cells = static_cast<int32_t>(cells);
  int32_t** columns[] = {&pool->slot,          &pool->offset,         &pool->length, &pool->segments,
                         &pool->layer,         &pool->l3Offset,       &pool->prefixLength,
                         &pool->segmentSize,   &pool->gsoType,        &pool->checksumStart,
                         &pool->checksumOffset, &pool->peer,          &pool->trafficClass,
                         &pool->flags,         &pool->state};
  for (int32_t cell = 0; cell <= kCellState; cell++) *columns[cell] = pool->descriptors + cell;
  pool->accounts = static_cast<int32_t>(accounts);
  return true;
}

napi_value poolAttach(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Pool* pool = new Pool;
  if (!readMemory(env, call.values[0], pool)) {
    unhold(env, pool);
    delete pool;
    return nullptr;
  }
  int32_t id = call.self->pools.add(pool);
  if (id < 0) {
    unhold(env, pool);
    delete pool;
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "too many pools");
    return nullptr;
  }
  return makeInteger(env, id);
}

napi_value poolDetach(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Pool* pool = call.self->pools.remove(call.integer(0));
  if (pool != nullptr) {
    pool->detached = true;
    pool->users++;
    poolRelease(env, pool);
  }
  return nullptr;
}

// How far a typed array begins behind the start of a cache line.
napi_value lineOffset(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  void* data = nullptr;
  if (napi_get_typedarray_info(env, call.values[0], nullptr, nullptr, &data, nullptr, nullptr) != napi_ok) {
    return makeInteger(env, -EINVAL);
  }
  return makeInteger(env, static_cast<int32_t>(reinterpret_cast<uintptr_t>(data) % kCacheLine));
}

napi_value completeChecksumOf(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  int32_t handle = call.integer(1);
  if (pool == nullptr || !pool->valid(handle)) return nullptr;
  // A superframe has one checksum per segment and none of its own.
  if (pool->segmentSize[handle] > 0) return nullptr;
  completeChecksum(pool, handle);
  return nullptr;
}

// Cuts a superframe into fresh wire packets, all or none.
int32_t segmentInto(Pool* pool, int32_t handle) {
  Superframe frame;
  if (!frame.parse(pool, handle)) return -EINVAL;
  // A frame that begins in its slot's headroom may have segments longer than a fresh slot takes.
  if (frame.segmentLength(0) > static_cast<uint32_t>(kLargeRoom)) return -EINVAL;
  if (frame.segments > pool->cutCells) return -ERANGE;
  int32_t account = pool->owner[pool->slot[handle]];
  if (account >= pool->accounts) return -EINVAL;
  const int32_t prefix = pool->prefixLength[handle];
  if (prefix > kHeadroom) return -EINVAL;
  const int32_t segments = static_cast<int32_t>(frame.segments);

  int32_t pattern[kDescriptorCells];
  memcpy(pattern, kFreshDescriptor, sizeof pattern);
  for (DescriptorCell column : {kCellLayer, kCellL3Offset, kCellPrefixLength, kCellPeer, kCellTrafficClass, kCellFlags}) {
    pattern[column] = pool->descriptors[handle + column];
  }
  const double arrived = pool->arrived[pool->slot[handle]];
  int32_t handles[kMaxSegments];  // and not `cut`, which may be any memory of JavaScript's, also the pool's
  int32_t made = 0;
  if (frame.segmentLength(0) <= static_cast<uint32_t>(kSmallRoom)) {
    made = pool->makeBurst(pattern, arrived, account, handles, segments, Content());
  } else {
    for (; made < segments; made++) {
      int32_t fresh = pool->allocate(static_cast<int32_t>(frame.segmentLength(static_cast<uint32_t>(made))), account);
      if (fresh < 0) break;
      pattern[kCellSlot] = pool->slot[fresh];
      pattern[kCellOffset] = pool->offset[fresh];
      memcpy(pool->descriptors + fresh, pattern, sizeof pattern);
      pool->arrived[pool->slot[fresh]] = arrived;
      handles[made] = fresh;
    }
  }
  if (made < segments) {
    while (made > 0) pool->free(handles[--made]);
    return -ENOBUFS;
  }

  const Segmenter segmenter(frame);
  for (int32_t i = 0; i < segments; i++) {
    int32_t fresh = handles[i];
    uint8_t* to = pool->bytes(fresh);
    if (prefix > 0) memcpy(to - prefix, frame.bytes - prefix, static_cast<size_t>(prefix));
    pool->length[fresh] = static_cast<int32_t>(segmenter.write(static_cast<uint32_t>(i), to));
  }
  memcpy(pool->cut, handles, static_cast<size_t>(segments) * sizeof *handles);
  return segments;
}

napi_value segment(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  int32_t handle = call.integer(1);
  if (pool == nullptr || !pool->valid(handle)) return makeInteger(env, -EBADF);
  return makeInteger(env, segmentInto(pool, handle));
}

}  // namespace

void poolRelease(napi_env env, Pool* pool) {
  if (--pool->users > 0 || !pool->detached) return;
  unhold(env, pool);
  delete pool;
}

void poolsDetachAll(Environment* self) {
  self->pools.each([self](Pool* pool) {
    unhold(self->env, pool);
    delete pool;
  });
  self->pools.clear();
}

void definePool(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "poolAttach", poolAttach);
  defineFunction(env, exports, self, "poolDetach", poolDetach);
  defineFunction(env, exports, self, "lineOffset", lineOffset);
  defineFunction(env, exports, self, "completeChecksum", completeChecksumOf);
  defineFunction(env, exports, self, "segment", segment);
}
