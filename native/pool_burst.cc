// Bursts of packets made, cloned, copied and freed in one call. What src/engine/pool.ts does packet by packet, with
// the tops of the free stacks in registers: a clone is one cache line read and one written.
#include <cerrno>
#include <climits>
#include <cstring>

#include "arguments.h"
#include "burst.h"
#include "pool.h"
#include "pool_lanes.h"

namespace {

constexpr int32_t kCommonAccount = 0;

int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

constexpr int32_t kBlock = 64;

// Copies `size` bytes that lie in slots of their own, in whole blocks where both slots go on for long enough:
// half the time of memcpy for the 60 bytes of a small packet.
inline void copyBytes(uint8_t* to, const uint8_t* from, int32_t size, int64_t slack) {
  if (size > 8 * kBlock || slack < kBlock) {
    memcpy(to, from, static_cast<size_t>(size));
    return;
  }
  for (int32_t at = 0; at < size; at += kBlock) memcpy(to + at, from + at, kBlock);
}

// The columns that a burst works on, in registers: through the pool every store into a column could have changed the
// pointers themselves, and they would be read again for each packet.
struct Rows {
  explicit Rows(const Pool* pool)
      : rows(pool->descriptors),
        cells(pool->cells),
        references(pool->references),
        slots(pool->slots()) {}

  int32_t* const rows;
  const int32_t cells;
  int32_t* const references;
  const int32_t slots;

  bool known(int32_t handle) const {
    return handle >= 0 && handle < cells && handle % kDescriptorCells == 0;
  }
  // Whether it is live, on a slot that is.
  bool live(int32_t handle) const {
    if (!known(handle) || rows[handle + kCellState] != 1) return false;
    int32_t s = rows[handle + kCellSlot];
    return s >= 0 && s < slots && references[s] >= 1;
  }
  // Rows are the same or apart, never partly one.
  void copy(int32_t from, int32_t to) const {
    if (from != to) memcpy(rows + to, rows + from, sizeof kFreshDescriptor);
  }
};

}  // namespace

void Content::copyTo(uint8_t* first) const {
  if (size > 0) copyBytes(first - before, bytes, size, slack);
}

// Fresh packets in small slots that begin as copies of `pattern`, a row in nobody else's hands, with the bytes that it is
// about when they are given.
int32_t Pool::makeBurst(const int32_t* pattern, double at, int32_t account, int32_t* into, int32_t n,
                        const Content& content) {
  n = smaller(n, roomSmall(account));
  const Rows all(this);
  const int32_t* const descriptorsFree = freeDescriptors;
  const int32_t* const slotsFree = freeSmall;
  uint8_t* const owners = owner;
  double* const times = arrived;
  uint8_t* const bytes = slab;
  const int32_t small = smallSlots;
  Tops tops = {stackCount(freeDescriptors, descriptorStack), stackCount(freeSmall, smallSlots)};
  // Bytes that are more than a block, or end where the slot does, are copied below.
  const bool block = content.size <= kBlock && content.slack >= kBlock;
  int32_t made = makeLanes(this, pattern, at, account, into, n, &tops, content.bytes, block ? content.size : 0,
                           content.before);
  for (int32_t i = 0; i < made && !block; i++) content.copyTo(slab + offset[into[i]]);
  int32_t top = tops.descriptors;
  int32_t topSmall = tops.small;
  for (; made < n; made++) {
    int32_t s = slotsFree[topSmall];
    int32_t handle = descriptorsFree[top];
    if (s < 0 || s >= small || !all.known(handle)) break;
    topSmall--;
    top--;
    all.references[s] = 1;
    times[s] = at;
    owners[s] = static_cast<uint8_t>(account);
    int32_t* row = all.rows + handle;
    memcpy(row, pattern, sizeof kFreshDescriptor);
    row[kCellSlot] = s;
    row[kCellOffset] = s * kSmallSlot + kHeadroom;
    content.copyTo(bytes + row[kCellOffset]);
    into[made] = handle;
  }
  freeDescriptors[0] = top;
  freeSmall[0] = topSmall;
  usedSmall[account] += made;
  return made;
}

int32_t Pool::allocateBurst(int32_t account, int32_t* into, int32_t n) {
  return makeBurst(kFreshDescriptor, 0, account, into, n, Content());
}

namespace {

// Clones, and with `Split` the originals beside them: two rings filled for one look at the rows.
template <bool Split>
int32_t cloneRows(Pool* pool, const int32_t* from, int32_t n, int32_t* into, int32_t* also, Tally* tally) {
  const Rows all(pool);
  const int32_t* const descriptorsFree = pool->freeDescriptors;
  int32_t top = Pool::stackCount(pool->freeDescriptors, pool->descriptorStack);
  n = smaller(n, top);
  int64_t packets = 0;
  int64_t bytes = 0;
  int32_t made = 0;
  int32_t next = 0;
  for (; made < n; made++) {
    if (made == next) {
      Tops tops = {top, 0};
      made += cloneLanes(pool, from + made, n - made, into + made, Split ? also + made : nullptr, &tops, tally);
      top = tops.descriptors;
      if (made == n) break;
      next = made + kLanes;
    }
    int32_t handle = from[made];
    int32_t copy = descriptorsFree[top];
    if (!all.live(handle) || !all.known(copy)) break;
    const int32_t* row = all.rows + handle;
    int32_t* count = all.references + row[kCellSlot];
    if (*count == INT_MAX) break;
    top--;
    ++*count;
    packets += row[kCellSegments];
    bytes += row[kCellLength];
    all.copy(handle, copy);
    into[made] = copy;
    if (Split) also[made] = handle;
  }
  pool->freeDescriptors[0] = top;
  tally->packets += packets;
  tally->bytes += bytes;
  return made;
}

}  // namespace

int32_t Pool::cloneBurst(const int32_t* from, int32_t n, int32_t* into, Tally* tally) {
  return cloneRows<false>(this, from, n, into, nullptr, tally);
}

int32_t Pool::splitBurst(const int32_t* from, int32_t n, int32_t* into, int32_t* also, Tally* tally) {
  return cloneRows<true>(this, from, n, into, also, tally);
}

// One copy where the account or the small slots are at their end, or the packet is a large one. Whoever paid for the
// original pays for the copy; the common account helps out. -1 when there is none.
int32_t Pool::copyOne(int32_t handle) {
  int32_t prefix = prefixLength[handle];
  int32_t size = length[handle];
  int32_t copy = allocate(size, owner[slot[handle]]);
  if (copy < 0) copy = allocate(size, kCommonAccount);
  if (copy < 0) return -1;
  int32_t fresh = slot[copy];
  int32_t at = offset[copy];
  Rows(this).copy(handle, copy);
  slot[copy] = fresh;
  offset[copy] = at;
  arrived[fresh] = arrived[slot[handle]];
  memcpy(slab + at - prefix, slab + offset[handle] - prefix, static_cast<size_t>(prefix + size));
  return copy;
}

int32_t Pool::copyBurst(const int32_t* from, int32_t n, int32_t* into, Tally* tally) {
  const Rows all(this);
  const int32_t* const descriptorsFree = freeDescriptors;
  const int32_t* const slotsFree = freeSmall;
  uint8_t* const owners = owner;
  double* const times = arrived;
  uint8_t* const bytes = slab;
  const int32_t small = smallSlots;
  int32_t top = stackCount(freeDescriptors, descriptorStack);
  int32_t topSmall = stackCount(freeSmall, smallSlots);
  // Packets of one account in a row are charged together.
  int32_t payer = -1;
  int32_t room = 0;
  int32_t paid = 0;
  auto settle = [&] {
    freeDescriptors[0] = top;
    freeSmall[0] = topSmall;
    if (payer >= 0) usedSmall[payer] += paid;
    payer = -1;
  };
  auto charge = [&](int32_t account) {
    if (account == payer) return;
    settle();
    payer = account;
    room = quotaLeft(quotaSmall[account], usedSmall[account]);
    paid = 0;
  };
  int32_t made = 0;
  int32_t next = 0;
  for (; made < n; made++) {
    if (!all.live(from[made])) break;
    if (made == next && owners[all.rows[from[made] + kCellSlot]] < accounts) {
      charge(owners[all.rows[from[made] + kCellSlot]]);
      Tops tops = {top, topSmall, payer, paid};
      made += copyLanes(this, from + made, n - made, into + made, &tops, tally);
      top = tops.descriptors;
      topSmall = tops.small;
      paid = tops.paid;
      if (made == n || !all.live(from[made])) break;
      next = made + kLanes;
    }
    int32_t handle = from[made];
    const int32_t* row = all.rows + handle;
    const int32_t s = row[kCellSlot];
    const int32_t prefix = row[kCellPrefixLength];
    const int32_t size = row[kCellLength];
    const int64_t start = slotStart(s);
    const int64_t end = start + (s < small ? kSmallSlot : kLargeSlot);
    const int64_t at = row[kCellOffset];
    if (prefix < 0 || prefix > kHeadroom || size < 0 || at - prefix < start || at + size > end) break;
    const int32_t account = owners[s];
    if (account >= accounts) break;
    charge(account);
    if (size > kSmallRoom || paid >= room || top == 0 || topSmall == 0) {
      settle();
      int32_t copy = copyOne(handle);
      if (copy < 0) break;
      into[made] = copy;
      top = stackCount(freeDescriptors, descriptorStack);
      topSmall = stackCount(freeSmall, smallSlots);
    } else {
      const int32_t copy = descriptorsFree[top];
      const int32_t fresh = slotsFree[topSmall];
      if (fresh < 0 || fresh >= small || !all.known(copy)) break;
      top--;
      topSmall--;
      paid++;
      const int32_t to = fresh * kSmallSlot + kHeadroom;
      all.copy(handle, copy);
      all.rows[copy + kCellSlot] = fresh;
      all.rows[copy + kCellOffset] = to;
      all.references[fresh] = 1;
      owners[fresh] = static_cast<uint8_t>(account);
      times[fresh] = times[s];
      const int64_t slack = end - (at + size);
      const int64_t freshSlack = kSmallRoom - size;
      copyBytes(bytes + to - prefix, bytes + at - prefix, prefix + size, slack < freshSlack ? slack : freshSlack);
      into[made] = copy;
    }
    tally->packets += row[kCellSegments];
    tally->bytes += size;
  }
  settle();
  return made;
}

void Pool::freeBurst(const int32_t* handles, int32_t n, Tally* tally) {
  const Rows all(this);
  int32_t* const descriptorsFree = freeDescriptors;
  int32_t* const slotsFree = freeSmall;
  const uint8_t* const owners = owner;
  const int32_t small = smallSlots;
  const int32_t most = descriptorStack;
  const int32_t generation = stride;
  int32_t top = stackCount(freeDescriptors, descriptorStack);
  int32_t topSmall = stackCount(freeSmall, smallSlots);
  int64_t packets = 0;
  int64_t bytes = 0;
  // Slots of one account in a row are taken off its account together.
  int32_t payer = -1;
  int32_t paid = 0;
  int32_t next = 0;
  for (int32_t i = 0; i < n; i++) {
    if (i == next) {
      Tops tops = {top, topSmall, payer, paid};
      i += freeLanes(this, handles + i, n - i, &tops, tally);
      top = tops.descriptors;
      topSmall = tops.small;
      payer = tops.payer;
      paid = tops.paid;
      if (i == n) break;
      next = i + kLanes;
    }
    int32_t handle = handles[i];
    if (!all.live(handle)) continue;
    int32_t* row = all.rows + handle;
    int32_t s = row[kCellSlot];
    row[kCellState] = 0;
    packets += row[kCellSegments];
    bytes += row[kCellLength];
    if (generation > 0) {
      row[kCellLength] = -1;
      handle = static_cast<int32_t>((int64_t{handle} + generation) % all.cells);
    }
    if (top < most) descriptorsFree[++top] = handle;
    if (--all.references[s] != 0) continue;
    if (s >= small) {
      if (owners[s] < accounts) usedLarge[owners[s]]--;
      giveBack(s);
      continue;
    }
    if (topSmall < small) slotsFree[++topSmall] = s;
    if (owners[s] != payer) {
      if (payer >= 0 && payer < accounts) usedSmall[payer] -= paid;
      payer = owners[s];
      paid = 0;
    }
    paid++;
  }
  if (payer >= 0 && payer < accounts) usedSmall[payer] -= paid;
  freeDescriptors[0] = top;
  freeSmall[0] = topSmall;
  tally->packets += packets;
  tally->bytes += bytes;
}

int32_t Pool::stampBurst(int32_t pattern, int32_t* into, int32_t n, Tally* tally) {
  if (!valid(pattern)) return 0;
  int32_t account = owner[slot[pattern]];
  int32_t prefix = prefixLength[pattern];
  if (account >= accounts || prefix > kHeadroom || length[pattern] > kSmallRoom) return 0;
  // The pattern's own row may be among the free ones when JavaScript has mixed them up.
  int32_t row[kDescriptorCells];
  memcpy(row, descriptors + pattern, sizeof row);
  Content content;
  content.bytes = slab + offset[pattern] - prefix;
  content.size = prefix + length[pattern];
  content.before = prefix;
  // Both slots go on for as long: whole blocks, for short packets half the time of memcpy.
  int64_t behind = slotStart(slot[pattern]) + (isSmall(slot[pattern]) ? kSmallSlot : kLargeSlot);
  content.slack = behind - (int64_t{offset[pattern]} + length[pattern]);
  int64_t freshSlack = kSmallRoom - length[pattern];
  if (freshSlack < content.slack) content.slack = freshSlack;
  int32_t made = makeBurst(row, arrived[slot[pattern]], account, into, n, content);
  tally->packets += int64_t{row[kCellSegments]} * made;
  tally->bytes += int64_t{row[kCellLength]} * made;
  return made;
}

void Pool::moveBurst(const int32_t* handles, int32_t n, int32_t* into, Tally* tally) {
  const Rows all(this);
  int64_t packets = 0;
  int64_t bytes = 0;
  for (int32_t i = 0; i < n; i++) {
    int32_t handle = handles[i];
    into[i] = handle;
    if (!all.known(handle)) continue;
    packets += all.rows[handle + kCellSegments];
    bytes += all.rows[handle + kCellLength];
  }
  tally->packets += packets;
  tally->bytes += bytes;
}

// ── JavaScript's side

namespace {

napi_value poolAlloc(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  int32_t account = call.integer(1);
  int32_t n = call.integer(3);
  Burst into;
  if (pool == nullptr) return makeInteger(env, -EBADF);
  if (account < 0 || account >= pool->accounts || !into.read(env, call.values[2]) || !into.holds(n)) {
    return makeInteger(env, -EINVAL);
  }
  return makeInteger(env, pool->allocateBurst(account, into.handles, n));
}

napi_value secondBurst(napi_env env, napi_callback_info info,
                       int32_t (Pool::*make)(const int32_t*, int32_t, int32_t*, Tally*)) {
  Arguments<4> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  int32_t n = call.integer(2);
  Burst from;
  Burst into;
  if (pool == nullptr) return makeInteger(env, -EBADF);
  if (!from.read(env, call.values[1]) || !into.read(env, call.values[3]) || !from.holds(n) || !into.holds(n)) {
    return makeInteger(env, -EINVAL);
  }
  Tally ignored;
  return makeInteger(env, (pool->*make)(from.handles, n, into.handles, &ignored));
}

napi_value poolClone(napi_env env, napi_callback_info info) { return secondBurst(env, info, &Pool::cloneBurst); }

napi_value poolCopy(napi_env env, napi_callback_info info) { return secondBurst(env, info, &Pool::copyBurst); }

napi_value poolFree(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  int32_t n = call.integer(2);
  Burst handles;
  if (pool == nullptr || !handles.read(env, call.values[1]) || !handles.holds(n)) return nullptr;
  Tally freed;
  pool->freeBurst(handles.handles, n, &freed);
  pool->tally[0] = static_cast<double>(freed.packets);
  pool->tally[1] = static_cast<double>(freed.bytes);
  return nullptr;
}

napi_value poolStamp(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  int32_t n = call.integer(3);
  Burst into;
  if (pool == nullptr) return makeInteger(env, -EBADF);
  if (!into.read(env, call.values[2]) || !into.holds(n)) return makeInteger(env, -EINVAL);
  Tally ignored;
  return makeInteger(env, pool->stampBurst(call.integer(1), into.handles, n, &ignored));
}

}  // namespace

void definePoolBursts(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "poolAlloc", poolAlloc);
  defineFunction(env, exports, self, "poolClone", poolClone);
  defineFunction(env, exports, self, "poolCopy", poolCopy);
  defineFunction(env, exports, self, "poolFree", poolFree);
  defineFunction(env, exports, self, "poolStamp", poolStamp);
}
