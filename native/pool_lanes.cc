#include "pool_lanes.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <climits>

#define LANES __attribute__((target("avx512f,avx512cd,avx512bw,avx512vl")))
#define LANES_INLINE LANES __attribute__((always_inline)) inline

namespace {

const bool kWide = [] {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}();

constexpr int32_t kBlock = 64;  // bytes
// Sixteen cells below this have a sum below 2^31.
constexpr uint32_t kSummable = 1u << 26;
constexpr __mmask16 kSlotLane = 1 << kCellSlot;
constexpr __mmask16 kStateLane = 1 << kCellState;

LANES_INLINE __m512i upwards() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

// The sixteen topmost of a free stack, in the order in which they are taken.
LANES_INLINE __m512i topmost(const int32_t* stack, int32_t top) {
  const __m512i downwards = _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_permutexvar_epi32(downwards, _mm512_loadu_si512(stack + top - (kLanes - 1)));
}

LANES_INLINE bool below(__m512i numbers, int32_t limit) {
  return _mm512_cmpge_epu32_mask(numbers, _mm512_set1_epi32(limit)) == 0;
}

LANES_INLINE bool known(const Pool* pool, __m512i handles) {
  return below(handles, pool->cells) && _mm512_test_epi32_mask(handles, _mm512_set1_epi32(kDescriptorCells - 1)) == 0;
}

// A run of slots one beside the other, upwards or downwards.
struct Run {
  int32_t first;
  int32_t step;  // 1 or -1
  int32_t lowest() const { return step > 0 ? first : first - (kLanes - 1); }
  LANES_INLINE __m512i slots() const {
    __m512i from = _mm512_set1_epi32(first);
    return step > 0 ? _mm512_add_epi32(from, upwards()) : _mm512_sub_epi32(from, upwards());
  }
};

// What sixteen rows have in common: live, on the slots of a run that lie within the pool.
struct Rows {
  Run run;
  __m512i sum;
  // By column, the largest; of the slot, the offset and the state what goes beyond the start of the slot and 1.
  __m512i most;

  LANES_INLINE uint32_t largest(DescriptorCell column) const {
    return static_cast<uint32_t>(_mm512_reduce_max_epu32(_mm512_maskz_mov_epi32(1 << column, most)));
  }
};

LANES_INLINE bool look(const Pool* pool, const int32_t* handles, Rows* seen) {
  const int32_t* const rows = pool->descriptors;
  const int32_t first = rows[handles[0] + kCellSlot];
  const int32_t second = rows[handles[1] + kCellSlot];
  if (first < 0 || second < 0) return false;
  const Run run = {first, second - first};
  if (run.step != 1 && run.step != -1) return false;
  if (run.lowest() < 0 || run.lowest() > pool->slots() - kLanes) return false;
  const int32_t start = static_cast<int32_t>(static_cast<uint32_t>(first) * kSmallSlot);
  __m512i expected = _mm512_setr_epi32(first, start, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0);
  const __m512i next = _mm512_setr_epi32(run.step, run.step * kSmallSlot, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  __m512i most = _mm512_setzero_si512();
  __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; i++) {
    const __m512i row = _mm512_loadu_si512(rows + handles[i]);
    most = _mm512_max_epu32(most, _mm512_sub_epi32(row, expected));
    sum = _mm512_add_epi32(sum, row);
    expected = _mm512_add_epi32(expected, next);
  }
  constexpr uint32_t end = kSummable - 1;
  const __m512i limit = _mm512_setr_epi32(0, -1, end, end, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, -1);
  if (_mm512_cmpgt_epu32_mask(most, limit) != 0) return false;
  *seen = {run, sum, most};
  return true;
}

LANES_INLINE void add(const __m512i& sum, Tally* tally) {
  const __m128i front = _mm512_castsi512_si128(sum);
  tally->bytes += _mm_extract_epi32(front, kCellLength);
  tally->packets += _mm_extract_epi32(front, kCellSegments);
}

// Slots that belong to an account from now on, with one reference each.
LANES_INLINE void begin(Pool* pool, const int32_t* slots, double at, int32_t account) {
  for (int32_t i = 0; i < kLanes; i++) {
    pool->references[slots[i]] = 1;
    pool->arrived[slots[i]] = at;
    pool->owner[slots[i]] = static_cast<uint8_t>(account);
  }
}

LANES_INLINE bool isRun(__m512i slots, const int32_t* stored, Run* run) {
  *run = {stored[0], stored[1] - stored[0]};
  return (run->step == 1 || run->step == -1) && _mm512_cmpneq_epi32_mask(slots, run->slots()) == 0;
}

// The first two cells of the rows over fresh slots.
LANES_INLINE void places(__m512i slots, uint64_t* to) {
  const __m512i offsets = _mm512_add_epi32(_mm512_mullo_epi32(slots, _mm512_set1_epi32(kSmallSlot)),
                                           _mm512_set1_epi32(kHeadroom));
  static_assert(kCellSlot == 0 && kCellOffset == 1, "a row begins with its slot and its offset");
  for (int32_t half = 0; half < 2; half++) {
    const __m256i s = half == 0 ? _mm512_castsi512_si256(slots) : _mm512_extracti64x4_epi64(slots, 1);
    const __m256i o = half == 0 ? _mm512_castsi512_si256(offsets) : _mm512_extracti64x4_epi64(offsets, 1);
    const __m512i both = _mm512_or_si512(_mm512_cvtepu32_epi64(s), _mm512_slli_epi64(_mm512_cvtepu32_epi64(o), 32));
    _mm512_store_si512(to + 8 * half, both);
  }
}

LANES int32_t make(Pool* pool, const int32_t* pattern, double at, int32_t account, int32_t* into, int32_t n, Tops* tops,
                   const uint8_t* bytes, int32_t size, int32_t before) {
  int32_t* const rows = pool->descriptors;
  uint8_t* const slab = pool->slab - before;
  const __m512i columns = _mm512_loadu_si512(pattern);
  const __m512i content = size > 0 ? _mm512_loadu_si512(bytes) : _mm512_setzero_si512();
  int32_t made = 0;
  for (; n - made >= kLanes && tops->small >= kLanes && tops->descriptors >= kLanes; made += kLanes) {
    const __m512i slots = topmost(pool->freeSmall, tops->small);
    const __m512i handles = topmost(pool->freeDescriptors, tops->descriptors);
    if (!below(slots, pool->smallSlots) || !known(pool, handles)) break;
    alignas(64) int32_t slot[kLanes];
    alignas(64) int32_t handle[kLanes];
    alignas(64) uint64_t place[kLanes];
    _mm512_store_si512(slot, slots);
    _mm512_store_si512(handle, handles);
    places(slots, place);
    Run run;
    if (isRun(slots, slot, &run)) {
      const int32_t lowest = run.lowest();
      _mm512_storeu_si512(pool->references + lowest, _mm512_set1_epi32(1));
      _mm512_storeu_pd(pool->arrived + lowest, _mm512_set1_pd(at));
      _mm512_storeu_pd(pool->arrived + lowest + kLanes / 2, _mm512_set1_pd(at));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(pool->owner + lowest), _mm_set1_epi8(static_cast<char>(account)));
    } else {
      begin(pool, slot, at, account);
    }
#pragma GCC unroll 16
    for (int32_t i = 0; i < kLanes; i++) {
      const __m512i row = _mm512_mask_set1_epi64(columns, 1, static_cast<int64_t>(place[i]));
      _mm512_storeu_si512(rows + handle[i], row);
    }
    if (size > 0) {
#pragma GCC unroll 16
      for (int32_t i = 0; i < kLanes; i++) _mm512_storeu_si512(slab + (place[i] >> 32), content);
    }
    _mm512_storeu_si512(into + made, handles);
    tops->small -= kLanes;
    tops->descriptors -= kLanes;
  }
  return made;
}

template <bool Split>
LANES int32_t clone(Pool* pool, const int32_t* from, int32_t n, int32_t* into, int32_t* also, Tops* tops,
                    Tally* tally) {
  int32_t* const rows = pool->descriptors;
  const __m512i one = _mm512_set1_epi32(1);
  int32_t made = 0;
  for (; n - made >= kLanes && tops->descriptors >= kLanes; made += kLanes) {
    const __m512i originals = _mm512_loadu_si512(from + made);
    const __m512i clones = topmost(pool->freeDescriptors, tops->descriptors);
    if (!known(pool, originals) || !known(pool, clones)) break;
    alignas(64) int32_t original[kLanes];
    alignas(64) int32_t second[kLanes];
    _mm512_store_si512(original, originals);
    _mm512_store_si512(second, clones);
    Rows seen;
    if (!look(pool, original, &seen)) break;
    int32_t* const references = pool->references + seen.run.lowest();
    const __m512i counts = _mm512_loadu_si512(references);
    if (!below(_mm512_sub_epi32(counts, one), INT_MAX - 1)) break;
    _mm512_storeu_si512(references, _mm512_add_epi32(counts, one));
#pragma GCC unroll 16
    for (int32_t i = 0; i < kLanes; i++) {
      _mm512_storeu_si512(rows + second[i], _mm512_loadu_si512(rows + original[i]));
    }
    _mm512_storeu_si512(into + made, clones);
    if (Split) _mm512_storeu_si512(also + made, originals);
    add(seen.sum, tally);
    tops->descriptors -= kLanes;
  }
  return made;
}

// Whether sixteen slots beside each other belong to one account.
LANES_INLINE bool oneOwner(const Pool* pool, int32_t lowest) {
  const __m128i owners = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pool->owner + lowest));
  const __m128i first = _mm_set1_epi8(static_cast<char>(pool->owner[lowest]));
  return _mm_movemask_epi8(_mm_cmpeq_epi8(owners, first)) == 0xffff;
}

LANES int32_t copy(Pool* pool, const int32_t* from, int32_t n, int32_t* into, Tops* tops, Tally* tally) {
  int32_t* const rows = pool->descriptors;
  uint8_t* const slab = pool->slab;
  const int32_t account = tops->payer;
  int32_t room = quotaLeft(pool->quotaSmall[account], pool->usedSmall[account]) - tops->paid;
  int32_t made = 0;
  for (; n - made >= kLanes && room >= kLanes && tops->small >= kLanes && tops->descriptors >= kLanes; made += kLanes) {
    const __m512i originals = _mm512_loadu_si512(from + made);
    const __m512i copies = topmost(pool->freeDescriptors, tops->descriptors);
    const __m512i slots = topmost(pool->freeSmall, tops->small);
    if (!known(pool, originals) || !known(pool, copies) || !below(slots, pool->smallSlots)) break;
    alignas(64) int32_t original[kLanes];
    alignas(64) int32_t second[kLanes];
    alignas(64) int32_t slot[kLanes];
    alignas(64) uint64_t place[kLanes];
    _mm512_store_si512(original, originals);
    _mm512_store_si512(second, copies);
    _mm512_store_si512(slot, slots);
    places(slots, place);
    Rows seen;
    if (!look(pool, original, &seen)) break;
    const int32_t lowest = seen.run.lowest();
    if (lowest > pool->smallSlots - kLanes || pool->owner[lowest] != account || !oneOwner(pool, lowest)) break;
    const __m512i counts = _mm512_loadu_si512(pool->references + lowest);
    if (!below(_mm512_sub_epi32(counts, _mm512_set1_epi32(1)), INT_MAX)) break;
    // Whole blocks, as far as both slots go on.
    const uint32_t longest = (seen.largest(kCellLength) + kBlock - 1) / kBlock * kBlock;
    if (longest > kSmallRoom || seen.largest(kCellOffset) > kSmallSlot - longest) break;
    if (seen.largest(kCellPrefixLength) != 0) break;

    Run run;
    if (isRun(slots, slot, &run) && seen.run.step == run.step) {
      const int32_t to = run.lowest();
      const __m512d early = _mm512_loadu_pd(pool->arrived + lowest);
      const __m512d late = _mm512_loadu_pd(pool->arrived + lowest + kLanes / 2);
      _mm512_storeu_si512(pool->references + to, _mm512_set1_epi32(1));
      _mm512_storeu_pd(pool->arrived + to, early);
      _mm512_storeu_pd(pool->arrived + to + kLanes / 2, late);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(pool->owner + to), _mm_set1_epi8(static_cast<char>(account)));
    } else {
      for (int32_t i = 0; i < kLanes; i++) {
        pool->references[slot[i]] = 1;
        pool->arrived[slot[i]] = pool->arrived[seen.run.first + seen.run.step * i];
        pool->owner[slot[i]] = static_cast<uint8_t>(account);
      }
    }
    if (longest <= kBlock) {
#pragma GCC unroll 16
      for (int32_t i = 0; i < kLanes; i++) {
        const __m512i row = _mm512_loadu_si512(rows + original[i]);
        const uint8_t* bytes = slab + _mm_extract_epi32(_mm512_castsi512_si128(row), kCellOffset);
        _mm512_storeu_si512(rows + second[i], _mm512_mask_set1_epi64(row, 1, static_cast<int64_t>(place[i])));
        _mm512_storeu_si512(slab + (place[i] >> 32), _mm512_loadu_si512(bytes));
      }
    } else {
      for (int32_t i = 0; i < kLanes; i++) {
        const __m512i row = _mm512_loadu_si512(rows + original[i]);
        const uint8_t* bytes = slab + _mm_extract_epi32(_mm512_castsi512_si128(row), kCellOffset);
        const int32_t length = _mm_extract_epi32(_mm512_castsi512_si128(row), kCellLength);
        _mm512_storeu_si512(rows + second[i], _mm512_mask_set1_epi64(row, 1, static_cast<int64_t>(place[i])));
        uint8_t* to = slab + (place[i] >> 32);
        for (int32_t k = 0; k < length; k += kBlock) _mm512_storeu_si512(to + k, _mm512_loadu_si512(bytes + k));
      }
    }
    _mm512_storeu_si512(into + made, copies);
    add(seen.sum, tally);
    tops->small -= kLanes;
    tops->descriptors -= kLanes;
    tops->paid += kLanes;
    room -= kLanes;
  }
  return made;
}

LANES int32_t freeAll(Pool* pool, const int32_t* handles, int32_t n, Tops* tops, Tally* tally) {
  int32_t* const rows = pool->descriptors;
  const __m512i one = _mm512_set1_epi32(1);
  int32_t done = 0;
  for (; n - done >= kLanes && pool->descriptorStack - tops->descriptors >= kLanes; done += kLanes) {
    const __m512i ended = _mm512_loadu_si512(handles + done);
    if (!known(pool, ended)) break;
    const __m512i twice = _mm512_conflict_epi32(ended);
    if (_mm512_test_epi32_mask(twice, twice) != 0) break;
    alignas(64) int32_t handle[kLanes];
    _mm512_store_si512(handle, ended);
    Rows seen;
    if (!look(pool, handle, &seen)) break;
    const int32_t lowest = seen.run.lowest();
    const __m512i counts = _mm512_loadu_si512(pool->references + lowest);
    if (_mm512_cmpneq_epi32_mask(counts, one) == 0) {
      const int32_t account = pool->owner[lowest];
      if (lowest > pool->smallSlots - kLanes || pool->smallSlots - tops->small < kLanes) break;
      if (account >= pool->accounts || !oneOwner(pool, lowest)) break;
      if (account != tops->payer) {
        if (tops->payer >= 0 && tops->payer < pool->accounts) pool->usedSmall[tops->payer] -= tops->paid;
        tops->payer = account;
        tops->paid = 0;
      }
      tops->paid += kLanes;
      _mm512_storeu_si512(pool->freeSmall + tops->small + 1, seen.run.slots());
      tops->small += kLanes;
    } else if (_mm512_cmplt_epi32_mask(counts, _mm512_set1_epi32(2)) != 0) {
      break;
    }
    _mm512_storeu_si512(pool->references + lowest, _mm512_sub_epi32(counts, one));
#pragma GCC unroll 16
    for (int32_t i = 0; i < kLanes; i++) rows[handle[i] + kCellState] = 0;
    _mm512_storeu_si512(pool->freeDescriptors + tops->descriptors + 1, ended);
    tops->descriptors += kLanes;
    add(seen.sum, tally);
  }
  return done;
}

}  // namespace

int32_t makeLanes(Pool* pool, const int32_t* pattern, double at, int32_t account, int32_t* into, int32_t n, Tops* tops,
                  const uint8_t* bytes, int32_t size, int32_t before) {
  return kWide ? make(pool, pattern, at, account, into, n, tops, bytes, size, before) : 0;
}

int32_t cloneLanes(Pool* pool, const int32_t* from, int32_t n, int32_t* into, int32_t* also, Tops* tops,
                   Tally* tally) {
  if (!kWide) return 0;
  return also == nullptr ? clone<false>(pool, from, n, into, also, tops, tally)
                         : clone<true>(pool, from, n, into, also, tops, tally);
}

int32_t copyLanes(Pool* pool, const int32_t* from, int32_t n, int32_t* into, Tops* tops, Tally* tally) {
  return kWide ? copy(pool, from, n, into, tops, tally) : 0;
}

int32_t freeLanes(Pool* pool, const int32_t* handles, int32_t n, Tops* tops, Tally* tally) {
  return kWide && pool->stride == 0 ? freeAll(pool, handles, n, tops, tally) : 0;
}

#else

int32_t makeLanes(Pool*, const int32_t*, double, int32_t, int32_t*, int32_t, Tops*, const uint8_t*, int32_t, int32_t) {
  return 0;
}
int32_t cloneLanes(Pool*, const int32_t*, int32_t, int32_t*, int32_t*, Tops*, Tally*) { return 0; }
int32_t copyLanes(Pool*, const int32_t*, int32_t, int32_t*, Tops*, Tally*) { return 0; }
int32_t freeLanes(Pool*, const int32_t*, int32_t, Tops*, Tally*) { return 0; }

#endif
