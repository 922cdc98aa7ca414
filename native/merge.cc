#include "merge.h"

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "offload.h"

static_assert(kMaxPrefix == kHeadroom, "a prefix is kept in the headroom of copies and segments");

namespace {

// Bytes from a packet's first one to the end of its slot.
uint32_t roomOf(const Pool* pool, int32_t handle) {
  int32_t slot = pool->slot[handle];
  int64_t end = pool->slotStart(slot) + (pool->isSmall(slot) ? kSmallSlot : kLargeSlot);
  return static_cast<uint32_t>(end - pool->offset[handle]);
}

}  // namespace

void Merger::start(int32_t handle) { coalescer_.start(pool_->bytes(handle), roomOf(pool_, handle), handle); }

// From a small slot into a large one, of the same account.
bool Merger::grow(Train* train, uint32_t needed) {
  uint32_t prefix = train->prefix;
  int32_t handle = train->tag;
  int32_t small = pool_->slot[handle];
  int32_t account = pool_->owner[small];
  if (!pool_->isSmall(small) || prefix + needed > static_cast<uint32_t>(kLargeRoom)) return false;
  if (account >= pool_->accounts || pool_->roomLarge(account) == 0) return false;
  int32_t large = pool_->takeLarge();
  if (large < 0) return false;
  uint8_t* to = pool_->packetArea(large);
  memcpy(to, train->bytes - prefix, prefix + train->length);
  pool_->references[large] = 1;
  pool_->owner[large] = static_cast<uint8_t>(account);
  pool_->usedLarge[account]++;
  pool_->usedSmall[account]--;
  pool_->giveBack(small);
  pool_->slot[handle] = large;
  pool_->offset[handle] = static_cast<int32_t>(to - pool_->slab);
  train->bytes = to + prefix;
  train->room = static_cast<uint32_t>(kLargeRoom) - prefix;
  return true;
}

void Merger::closed(const Train& train) {
  int32_t handle = train.tag;
  uint32_t prefix = train.prefix;
  pool_->offset[handle] += static_cast<int32_t>(prefix);
  pool_->prefixLength[handle] = static_cast<uint16_t>(prefix);
  pool_->length[handle] = static_cast<int32_t>(train.length);
  pool_->l3Offset[handle] = static_cast<uint16_t>(train.l3);
  pool_->gsoType[handle] = train.gsoType();
  pool_->segmentSize[handle] = static_cast<int32_t>(train.segmentSize);
  pool_->segments[handle] = static_cast<int32_t>(train.segments);
  pool_->checksumStart[handle] = static_cast<int32_t>(train.l4);
  pool_->checksumOffset[handle] = static_cast<int32_t>(train.checksumOffset());
  superframes++;
}

namespace {

// Merges wire packets among handles[0..n), of which the first of each superframe stays; returns how many are left, in
// handles[0..). Negative, with nothing changed, when one is no packet or stands
// there twice.
int32_t mergeHandles(Merger* merger, Pool* pool, Framing framing, int32_t* handles, int32_t n) {
  int32_t good = 0;
  // One that stands there twice is found to be no packet the second time.
  while (good < n && pool->valid(handles[good])) pool->state[handles[good++]] = 0;
  for (int32_t i = 0; i < good; i++) pool->state[handles[i]] = 1;
  if (good < n) return -EBADF;
  merger->begin(pool, framing);
  int32_t left = 0;
  for (int32_t i = 0; i < n; i++) {
    int32_t handle = handles[i];
    bool wire = pool->segmentSize[handle] == 0 && pool->checksumStart[handle] < 0 && pool->prefixLength[handle] == 0;
    const uint8_t* bytes = pool->bytes(handle);
    uint32_t length = static_cast<uint32_t>(pool->length[handle]);
    if (!wire) {
      merger->pass(bytes, length, pool->peer[handle]);
    } else if (merger->join(bytes, length, pool->peer[handle], pool->trafficClass[handle])) {
      pool->free(handle);
      continue;
    } else if (!pool->shared(handle)) {
      merger->start(handle);
    }
    handles[left++] = handle;
  }
  merger->finish();
  return left;
}

napi_value coalesce(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  if (pool == nullptr) return makeInteger(env, -EBADF);
  napi_typedarray_type type;
  size_t capacity = 0;
  void* handles = nullptr;
  if (napi_get_typedarray_info(env, call.values[1], &type, &capacity, &handles, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array) {
    return makeInteger(env, -EINVAL);
  }
  int32_t n = call.integer(2);
  Framing framing;
  if (n < 0 || static_cast<size_t>(n) > capacity || !framingOf(call.integer(3), &framing) ||
      framing == Framing::kNone) {
    return makeInteger(env, -EINVAL);
  }
  Merger* merger = new Merger;  // 30 KB
  int32_t left = mergeHandles(merger, pool, framing, static_cast<int32_t*>(handles), n);
  delete merger;
  return makeInteger(env, left);
}

}  // namespace

bool framingOf(int32_t number, Framing* framing) {
  if (number < 0 || number > static_cast<int32_t>(Framing::kGeneve)) return false;
  *framing = static_cast<Framing>(number);
  return true;
}

void defineMerge(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "coalesce", coalesce);
}
