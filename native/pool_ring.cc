// Bursts from link to link. The rings are known by number, so a call takes integers alone: an array as an argument costs
// 18 ns, an integer 4. A ring's end cuts a burst in two; each part is an ordinary burst.
#include <cerrno>

#include "arguments.h"
#include "burst.h"
#include "pool.h"

namespace {

int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

// A place on a ring that moves on.
struct Cursor {
  Cursor(const Ring* on, int32_t count) : ring(on), at(static_cast<uint32_t>(count) & (on->capacity - 1)) {}

  // How many of `n` come before the ring's end.
  int32_t straight(int32_t n) const { return smaller(n, static_cast<int32_t>(ring->capacity - at)); }
  int32_t* handles() const { return ring->handles + at; }
  void advance(int32_t n) { at = (at + static_cast<uint32_t>(n)) & (ring->capacity - 1); }

  const Ring* ring;
  uint32_t at;
};

void count(const Ring* ring, const Tally& put) {
  ring->counts[0] += static_cast<double>(put.packets);
  ring->counts[1] += static_cast<double>(put.bytes);
}

// The pool and the rings that a call names; `ok` when all are there and hold `n`.
template <size_t Count>
struct RingCall : Arguments<Count> {
  RingCall(napi_env env, napi_callback_info info, size_t amount) : Arguments<Count>(env, info) {
    pool = this->self->pools.find(this->integer(0));
    n = this->integer(amount);
    ok = pool != nullptr && n >= 0;
  }

  // The ring that argument `index` names.
  Ring* ring(size_t index) {
    Ring* found = ok ? pool->ring(this->integer(index)) : nullptr;
    ok = found != nullptr && static_cast<uint32_t>(n) <= found->capacity;
    return found;
  }

  Pool* pool;
  int32_t n;
  bool ok;
};

using Second = int32_t (Pool::*)(const int32_t*, int32_t, int32_t*, Tally*);

// Seconds of the oldest packets of one ring on another, until one cannot be had.
napi_value secondOnRing(napi_env env, napi_callback_info info, Second make) {
  RingCall<6> call(env, info, 3);
  const Ring* from = call.ring(1);
  const Ring* to = call.ring(4);
  if (!call.ok) return makeInteger(env, -EINVAL);
  Cursor source(from, call.integer(2));
  Cursor target(to, call.integer(5));
  Tally put;
  int32_t made = 0;
  while (made < call.n) {
    int32_t part = source.straight(target.straight(call.n - made));
    int32_t got = (call.pool->*make)(source.handles(), part, target.handles(), &put);
    made += got;
    if (got < part) break;
    source.advance(part);
    target.advance(part);
  }
  count(to, put);
  return makeInteger(env, made);
}

napi_value ringClone(napi_env env, napi_callback_info info) { return secondOnRing(env, info, &Pool::cloneBurst); }

napi_value ringCopy(napi_env env, napi_callback_info info) { return secondOnRing(env, info, &Pool::copyBurst); }

napi_value ringMove(napi_env env, napi_callback_info info) {
  RingCall<6> call(env, info, 3);
  const Ring* from = call.ring(1);
  const Ring* to = call.ring(4);
  if (!call.ok) return nullptr;
  Cursor source(from, call.integer(2));
  Cursor target(to, call.integer(5));
  Tally put;
  for (int32_t left = call.n; left > 0;) {
    int32_t part = source.straight(target.straight(left));
    call.pool->moveBurst(source.handles(), part, target.handles(), &put);
    source.advance(part);
    target.advance(part);
    left -= part;
  }
  count(to, put);
  return nullptr;
}

napi_value ringSplit(napi_env env, napi_callback_info info) {
  RingCall<8> call(env, info, 3);
  const Ring* from = call.ring(1);
  const Ring* clones = call.ring(4);
  const Ring* to = call.ring(6);
  if (!call.ok) return makeInteger(env, -EINVAL);
  Cursor source(from, call.integer(2));
  Cursor second(clones, call.integer(5));
  Cursor target(to, call.integer(7));
  Tally put;
  int32_t made = 0;
  while (made < call.n) {
    int32_t part = source.straight(second.straight(target.straight(call.n - made)));
    int32_t got = call.pool->splitBurst(source.handles(), part, second.handles(), target.handles(), &put);
    made += got;
    if (got < part) break;
    source.advance(part);
    second.advance(part);
    target.advance(part);
  }
  count(clones, put);
  count(to, put);
  return makeInteger(env, made);
}

napi_value ringStamp(napi_env env, napi_callback_info info) {
  RingCall<5> call(env, info, 2);
  const Ring* to = call.ring(3);
  if (!call.ok) return makeInteger(env, -EINVAL);
  Cursor target(to, call.integer(4));
  int32_t pattern = call.integer(1);
  Tally put;
  int32_t made = 0;
  while (made < call.n) {
    int32_t part = target.straight(call.n - made);
    int32_t got = call.pool->stampBurst(pattern, target.handles(), part, &put);
    made += got;
    if (got < part) break;
    target.advance(part);
  }
  count(to, put);
  return makeInteger(env, made);
}

napi_value ringFree(napi_env env, napi_callback_info info) {
  RingCall<4> call(env, info, 3);
  const Ring* from = call.ring(1);
  if (!call.ok) return nullptr;
  Cursor source(from, call.integer(2));
  Tally freed;
  for (int32_t left = call.n; left > 0;) {
    int32_t part = source.straight(left);
    call.pool->freeBurst(source.handles(), part, &freed);
    source.advance(part);
    left -= part;
  }
  call.pool->tally[0] = static_cast<double>(freed.packets);
  call.pool->tally[1] = static_cast<double>(freed.bytes);
  return nullptr;
}

napi_value ringPut(napi_env env, napi_callback_info info) {
  RingCall<5> call(env, info, 2);
  const Ring* to = call.ring(3);
  Burst burst;
  if (!call.ok || !burst.read(env, call.values[1]) || !burst.holds(call.n)) return nullptr;
  Cursor target(to, call.integer(4));
  Tally put;
  for (int32_t done = 0; done < call.n;) {
    int32_t part = target.straight(call.n - done);
    call.pool->moveBurst(burst.handles + done, part, target.handles(), &put);
    target.advance(part);
    done += part;
  }
  count(to, put);
  return nullptr;
}

void forget(napi_env env, Ring* ring) {
  for (napi_ref& reference : ring->held) {
    if (reference != nullptr) napi_delete_reference(env, reference);
  }
  *ring = Ring();
}

napi_value ringAttach(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  Burst handles;
  napi_typedarray_type type;
  size_t cells = 0;
  void* counts = nullptr;
  if (pool == nullptr || !handles.read(env, call.values[1]) ||
      napi_get_typedarray_info(env, call.values[2], &type, &cells, &counts, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || cells < 2) {
    return makeInteger(env, -1);
  }
  const size_t capacity = handles.capacity;
  if (capacity == 0 || capacity > (1u << 24) || (capacity & (capacity - 1)) != 0) return makeInteger(env, -1);
  Ring ring;
  ring.handles = handles.handles;
  ring.capacity = static_cast<uint32_t>(capacity);
  ring.counts = static_cast<double*>(counts);
  for (size_t i = 0; i < 2; i++) {
    if (napi_create_reference(env, call.values[1 + i], 1, &ring.held[i]) == napi_ok) continue;
    forget(env, &ring);
    return makeInteger(env, -1);
  }
  size_t number = 0;
  while (number < pool->rings.size() && pool->rings[number].handles != nullptr) number++;
  if (number == pool->rings.size()) pool->rings.emplace_back();
  pool->rings[number] = ring;
  return makeInteger(env, static_cast<int32_t>(number));
}

napi_value ringDetach(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  Ring* ring = pool == nullptr ? nullptr : pool->ring(call.integer(1));
  if (ring != nullptr) forget(env, ring);
  return nullptr;
}

napi_value ringsDetach(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Pool* pool = call.self->pools.find(call.integer(0));
  if (pool != nullptr) poolForgetRings(env, pool);
  return nullptr;
}

}  // namespace

void poolForgetRings(napi_env env, Pool* pool) {
  for (Ring& ring : pool->rings) forget(env, &ring);
  pool->rings.clear();
}

void definePoolRings(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "ringAttach", ringAttach);
  defineFunction(env, exports, self, "ringDetach", ringDetach);
  defineFunction(env, exports, self, "ringsDetach", ringsDetach);
  defineFunction(env, exports, self, "ringPut", ringPut);
  defineFunction(env, exports, self, "ringStamp", ringStamp);
  defineFunction(env, exports, self, "ringClone", ringClone);
  defineFunction(env, exports, self, "ringCopy", ringCopy);
  defineFunction(env, exports, self, "ringMove", ringMove);
  defineFunction(env, exports, self, "ringSplit", ringSplit);
  defineFunction(env, exports, self, "ringFree", ringFree);
}
