// The Internet checksum (RFC 1071) at memory speed, alone or while copying.
//
// Sums are kept in the byte order of the machine: a one's complement sum may be byte-swapped at the end, or never, when it
// is stored the way it was loaded (RFC 1071, section 2 (B)). A sum is 64 bits wide, so parts are added without care.
//
// With AVX2: sixteen 16-bit words a step. x ^ 0x8000 makes the signed multiply-add of pairs (by one) usable on unsigned words;
// each pair is then 65536 too small, and as 65536 = 1 (mod 65535) one per pair is put back at the end. That is three operations for
// 32 bytes, where widening takes four. Lanes hold 2^15 steps: 1 MiB, far more than a packet has.
#pragma once
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t add64(uint64_t sum, uint64_t word) {
  const uint64_t total = sum + word;
  return total + (total < word);
}

static inline uint16_t fold(uint64_t sum) {
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return (uint16_t)sum;
}

static inline uint64_t sum_scalar(const uint8_t *from, size_t length, uint64_t sum) {
  uint64_t word;
  for (; length >= 8; from += 8, length -= 8) {
    memcpy(&word, from, 8);
    sum = add64(sum, word);
  }
  if (length) {  // what is missing counts as zero: the last odd byte is the first of its pair
    word = 0;
    memcpy(&word, from, length);
    sum = add64(sum, word);
  }
  return sum;
}

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i add_pairs(__m256i lanes, __m256i words) {
  const __m256i signed_words = _mm256_xor_si256(words, _mm256_set1_epi16((short)0x8000));
  return _mm256_add_epi32(lanes, _mm256_madd_epi16(signed_words, _mm256_set1_epi16(1)));
}

AVX2 static inline uint64_t sum_of_lanes(__m256i lanes, size_t steps) {
  int32_t lane[8];
  _mm256_storeu_si256((__m256i *)lane, lanes);
  int64_t sum = 0;
  for (int i = 0; i < 8; i++) sum += lane[i];
  // Whole sums of words, exactly: 65536 is put back for each of the eight pairs of a step.
  return (uint64_t)(sum + (int64_t)steps * 8 * 65536);
}

AVX2 static uint64_t sum_avx2(const uint8_t *from, size_t length, uint64_t sum) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  const size_t steps = length / 32;
  size_t i = 0;
  for (; i + 4 <= steps; i += 4, from += 128) {
    a = add_pairs(a, _mm256_loadu_si256((const __m256i *)from));
    b = add_pairs(b, _mm256_loadu_si256((const __m256i *)(from + 32)));
    c = add_pairs(c, _mm256_loadu_si256((const __m256i *)(from + 64)));
    d = add_pairs(d, _mm256_loadu_si256((const __m256i *)(from + 96)));
  }
  for (; i < steps; i++, from += 32) a = add_pairs(a, _mm256_loadu_si256((const __m256i *)from));
  a = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
  return sum_scalar(from, length % 32, add64(sum, sum_of_lanes(a, steps)));
}

// One pass instead of two. `to` may overlap `from` when it lies lower.
AVX2 static uint64_t copy_sum_avx2(uint8_t *to, const uint8_t *from, size_t length, uint64_t sum) {
  __m256i a = _mm256_setzero_si256(), b = a;
  const size_t steps = length / 32;
  size_t i = 0;
  for (; i + 2 <= steps; i += 2, from += 64, to += 64) {
    const __m256i first = _mm256_loadu_si256((const __m256i *)from);
    const __m256i second = _mm256_loadu_si256((const __m256i *)(from + 32));
    _mm256_storeu_si256((__m256i *)to, first);
    _mm256_storeu_si256((__m256i *)(to + 32), second);
    a = add_pairs(a, first);
    b = add_pairs(b, second);
  }
  if (i < steps) {
    const __m256i last = _mm256_loadu_si256((const __m256i *)from);
    _mm256_storeu_si256((__m256i *)to, last);
    a = add_pairs(a, last);
    from += 32, to += 32;
  }
  memcpy(to, from, length % 32);
  return sum_scalar(to, length % 32, add64(sum, sum_of_lanes(_mm256_add_epi32(a, b), steps)));
}

static inline bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

static inline uint64_t sum_bytes(const uint8_t *from, size_t length, uint64_t sum) {
  if (length >= 64 && has_avx2()) return sum_avx2(from, length, sum);
  return sum_scalar(from, length, sum);
}

static inline uint64_t copy_sum(uint8_t *to, const uint8_t *from, size_t length, uint64_t sum) {
  if (length >= 64 && has_avx2()) return copy_sum_avx2(to, from, length, sum);
  memcpy(to, from, length);
  return sum_scalar(to, length, sum);
}
