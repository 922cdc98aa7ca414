// The Internet checksum (RFC 1071), alone or while copying, by the widest vectors that the processor has.
//
// Inside, words are read in host order: a ones' complement sum may be swapped at the end, or never when it is stored as it was
// loaded. Sums are 64 bits wide and stay below 2^49, so a few thousand of them are added without care for carries.
#pragma once

#include <cstdint>
#include <cstring>

// Ones' complement sum of 16-bit big-endian words plus `initial`, folded to 16 bits, not inverted.
uint16_t checksum(const uint8_t* bytes, uint64_t length, uint64_t initial);
// The same without vector instructions, for processors that have none of those known here and for comparison.
uint16_t checksumScalar(const uint8_t* bytes, uint64_t length, uint64_t initial);

// A way to sum. Bytes that are missing at the end of the last word count as zero; no byte outside is touched.
struct SumForm {
  const char* name;
  // Host-order sum, not folded. Only a stretch of zeros sums to 0.
  uint64_t (*sum)(const uint8_t* from, uint64_t length);
  // The same while copying to a place that does not overlap.
  uint64_t (*copy)(uint8_t* to, const uint8_t* from, uint64_t length);
};
// Those that this processor can run, the fastest first; one without a name ends the list.
extern const SumForm* const sumForms;

inline uint64_t sumWords(const uint8_t* from, uint64_t length) { return sumForms->sum(from, length); }
inline uint64_t copyWords(uint8_t* to, const uint8_t* from, uint64_t length) { return sumForms->copy(to, from, length); }

inline uint16_t foldSum(uint64_t sum) {
  uint32_t high = static_cast<uint32_t>(sum >> 32);
  uint32_t folded = static_cast<uint32_t>(sum) + high;
  folded += folded < high;
  return static_cast<uint16_t>((folded + (folded << 16 | folded >> 16)) >> 16);
}

// A word's value as a sum in host order has it, and back.
inline uint16_t swapToNetwork(uint32_t word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return __builtin_bswap16(static_cast<uint16_t>(word));
#else
  return static_cast<uint16_t>(word);
#endif
}
inline uint32_t swapToNetwork32(uint32_t word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return __builtin_bswap32(word);
#else
  return word;
#endif
}

inline uint16_t loadWord(const uint8_t* at) {
  uint16_t word;
  memcpy(&word, at, sizeof word);
  return word;
}
inline uint32_t loadTwoWords(const uint8_t* at) {
  uint32_t words;
  memcpy(&words, at, sizeof words);
  return words;
}
inline void storeWord(uint8_t* at, uint16_t word) { memcpy(at, &word, sizeof word); }
inline void storeTwoWords(uint8_t* at, uint32_t words) { memcpy(at, &words, sizeof words); }

// Host-order sum of a part of a header: short, and a multiple of four bytes.
inline uint64_t sumHeader(const uint8_t* from, uint32_t length) {
  uint64_t sum = 0;
  for (uint32_t at = 0; at < length; at += 4) sum += loadTwoWords(from + at);
  return sum;
}
