#include "checksum.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

uint64_t addEndAround(uint64_t sum, uint64_t word) {
  sum += word;
  return sum + (sum < word);
}

uint64_t sumScalar(const uint8_t* at, uint64_t length) {
  uint64_t sum = 0;
  for (; length >= 8; at += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    sum = addEndAround(sum, word);
  }
  if (length > 0) {
    uint64_t word = 0;
    memcpy(&word, at, length);
    sum = addEndAround(sum, word);
  }
  return foldSum(sum);
}

uint64_t copyScalar(uint8_t* to, const uint8_t* from, uint64_t length) {
  memcpy(to, from, length);
  return sumScalar(from, length);
}

#if defined(__x86_64__)

// 1. Words are unsigned, the multiply-add of pairs (by one) is signed: x ^ 0x8000 is the word less 32768, so each pair comes out
//    65536 too small, and that is put back at the end. Three instructions per vector; to widen words takes four.
// 2. Four accumulators, as one would wait for itself. They are added up as 32-bit numbers down to one: each of a stretch's words
//    counts for at most 2^15 in them, so it may have 2^15 of those.
// 3. What is left behind whole vectors is one more, of which the bytes that are not there are zero.
constexpr uint64_t kStretch = 64 * 1024;
constexpr uint64_t kPair = 65536;

#define AVX2 __attribute__((target("avx2")))

AVX2 inline __m256i load(const uint8_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
AVX2 inline void store(uint8_t* at, __m256i words) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), words); }

AVX2 inline __m256i add(__m256i lanes, __m256i words) {
  __m256i less = _mm256_xor_si256(words, _mm256_set1_epi16(INT16_MIN));
  return _mm256_add_epi32(lanes, _mm256_madd_epi16(less, _mm256_set1_epi16(1)));
}

AVX2 inline uint64_t total(__m256i lanes, uint64_t pairs) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  __m128i one = _mm_add_epi32(two, _mm_shuffle_epi32(two, 1));
  return pairs * kPair + static_cast<uint64_t>(int64_t{_mm_cvtsi128_si32(one)});
}

template <typename Number>
inline Number part(uint8_t* to, const uint8_t* from) {
  Number number;
  memcpy(&number, from, sizeof number);
  if (to != nullptr) memcpy(to, &number, sizeof number);
  return number;
}

// Less than 32 bytes, by halves of that. `to` may be null.
inline uint64_t copyShort(uint8_t* to, const uint8_t* from, uint64_t length) {
  uint64_t sum = 0;
  uint64_t at = 0;
  auto into = [&] { return to == nullptr ? nullptr : to + at; };
  for (; length - at >= 8; at += 8) {
    uint64_t number = part<uint64_t>(into(), from + at);
    sum += (number & 0xffffffff) + (number >> 32);
  }
  if (length & 4) {
    sum += part<uint32_t>(into(), from + at);
    at += 4;
  }
  if (length & 2) {
    sum += part<uint16_t>(into(), from + at);
    at += 2;
  }
  if (length & 1) sum += part<uint8_t>(into(), from + at);
  return sum;
}

// From byte n on: 32 - n bytes of zeros, then ones.
alignas(64) constexpr uint8_t kLast[64] = {
    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

template <bool copying>
AVX2 uint64_t stretchAvx2(uint8_t* to, const uint8_t* from, uint64_t length) {
  if (length < 32) return copyShort(copying ? to : nullptr, from, length);
  __m256i a = _mm256_setzero_si256();
  __m256i b = a;
  __m256i c = a;
  __m256i d = a;
  uint64_t pairs = (length / 32) * 8;
  uint64_t sum = 0;
  for (; length >= 128; length -= 128, from += 128) {
    __m256i w = load(from);
    __m256i x = load(from + 32);
    __m256i y = load(from + 64);
    __m256i z = load(from + 96);
    if (copying) {
      store(to, w);
      store(to + 32, x);
      store(to + 64, y);
      store(to + 96, z);
      to += 128;
    }
    a = add(a, w);
    b = add(b, x);
    c = add(c, y);
    d = add(d, z);
  }
  for (; length >= 32; length -= 32, from += 32) {
    __m256i w = load(from);
    if (copying) {
      store(to, w);
      to += 32;
    }
    a = add(a, w);
  }
  if (length & 1) {
    length--;
    sum = from[length];  // the low byte of its word: these processors are little endian
    if (copying) to[length] = from[length];
  }
  if (length > 0) {
    // The 32 bytes that end here; those of them that were summed do not count again. There are as many in front.
    const uint8_t* end = from + length - 32;
    __m256i w = load(end);
    if (copying) store(to + length - 32, w);
    b = add(b, _mm256_and_si256(w, load(kLast + length)));
    pairs += 8;
  }
  a = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
  return sum + total(a, pairs);
}

#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl")))

AVX512 inline __m512i add512(__m512i lanes, __m512i words) {
  __m512i less = _mm512_xor_si512(words, _mm512_set1_epi16(INT16_MIN));
  return _mm512_add_epi32(lanes, _mm512_madd_epi16(less, _mm512_set1_epi16(1)));
}

template <bool copying>
AVX512 uint64_t stretchAvx512(uint8_t* to, const uint8_t* from, uint64_t length) {
  __m512i a = _mm512_setzero_si512();
  __m512i b = a;
  __m512i c = a;
  __m512i d = a;
  uint64_t pairs = 16;
  if (copying && length >= 512) {
    // Stores that fill cache lines; of 64 bytes each, all others would be in two of them.
    uint64_t ahead = -reinterpret_cast<uintptr_t>(to) & 62;
    __mmask64 there = _cvtu64_mask64((UINT64_C(1) << ahead) - 1);
    __m512i w = _mm512_maskz_loadu_epi8(there, from);
    _mm512_mask_storeu_epi8(to, there, w);
    b = add512(b, w);
    from += ahead;
    to += ahead;
    length -= ahead;
    pairs += 16;
  }
  pairs += length / 64 * 16;
  for (; length >= 256; length -= 256, from += 256) {
    __m512i w = _mm512_loadu_si512(from);
    __m512i x = _mm512_loadu_si512(from + 64);
    __m512i y = _mm512_loadu_si512(from + 128);
    __m512i z = _mm512_loadu_si512(from + 192);
    if (copying) {
      _mm512_storeu_si512(to, w);
      _mm512_storeu_si512(to + 64, x);
      _mm512_storeu_si512(to + 128, y);
      _mm512_storeu_si512(to + 192, z);
      to += 256;
    }
    a = add512(a, w);
    b = add512(b, x);
    c = add512(c, y);
    d = add512(d, z);
  }
  for (; length >= 64; length -= 64, from += 64) {
    __m512i w = _mm512_loadu_si512(from);
    if (copying) {
      _mm512_storeu_si512(to, w);
      to += 64;
    }
    a = add512(a, w);
  }
  __mmask64 there = _cvtu64_mask64((UINT64_C(1) << length) - 1);
  __m512i last = _mm512_maskz_loadu_epi8(there, from);
  if (copying) _mm512_mask_storeu_epi8(to, there, last);
  b = add512(b, last);
  a = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
  // Through memory: the intrinsics that halve a vector make GCC 12 warn of its own header.
  uint8_t lanes[64];
  _mm512_storeu_si512(lanes, a);
  return total(_mm256_add_epi32(load(lanes), load(lanes + 32)), pairs);
}

template <uint64_t (*stretch)(uint8_t*, const uint8_t*, uint64_t)>
uint64_t copyStretches(uint8_t* to, const uint8_t* from, uint64_t length) {
  if (length <= kStretch) return stretch(to, from, length);
  uint64_t sum = 0;
  for (; length > kStretch; length -= kStretch, from += kStretch, to += kStretch) sum += stretch(to, from, kStretch);
  return sum + stretch(to, from, length);
}

template <uint64_t (*stretch)(uint8_t*, const uint8_t*, uint64_t)>
uint64_t sumStretches(const uint8_t* from, uint64_t length) {
  if (length <= kStretch) return stretch(nullptr, from, length);
  uint64_t sum = 0;
  for (; length > kStretch; length -= kStretch, from += kStretch) sum += stretch(nullptr, from, kStretch);
  return sum + stretch(nullptr, from, length);
}
#endif

constexpr SumForm kForms[] = {
#if defined(__x86_64__)
    {"avx512", sumStretches<stretchAvx512<false>>, copyStretches<stretchAvx512<true>>},
    {"avx2", sumStretches<stretchAvx2<false>>, copyStretches<stretchAvx2<true>>},
#endif
    {"scalar", sumScalar, copyScalar},
    {nullptr, nullptr, nullptr},
};

const SumForm* fastest() {
  const SumForm* form = kForms;
#if defined(__x86_64__)
  __builtin_cpu_init();
  // VBMI2 is asked for as it is in Ice Lake, Zen 4 and what came later: processors before those lower their clock for vectors
  // of 64 bytes.
  bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512vbmi2");
  bool avx2 = __builtin_cpu_supports("avx2");
  if (!wide || !avx2) form++;
  if (!avx2) form++;
#endif
  return form;
}

}  // namespace

const SumForm* const sumForms = fastest();

uint16_t checksumScalar(const uint8_t* bytes, uint64_t length, uint64_t initial) {
  return foldSum(uint64_t{swapToNetwork(foldSum(sumScalar(bytes, length)))} + foldSum(initial));
}

uint16_t checksum(const uint8_t* bytes, uint64_t length, uint64_t initial) {
  return foldSum(uint64_t{swapToNetwork(foldSum(sumWords(bytes, length)))} + foldSum(initial));
}
