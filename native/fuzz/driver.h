// What the fuzzers share: a check that ends the run, and, where there is no libFuzzer, random numbers and a loop bounded in time.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

inline void require(bool held, const char* what) {
  if (held) return;
  fprintf(stderr, "violated: %s\n", what);
  abort();
}

#ifndef LIBFUZZER

inline uint64_t randomState = 1;

// xorshift: a seed gives the same run everywhere.
inline uint32_t next() {
  randomState ^= randomState << 13;
  randomState ^= randomState >> 7;
  randomState ^= randomState << 17;
  return static_cast<uint32_t>(randomState >> 11);
}

inline double secondsNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// main(SECONDS, SEED): calls `one` until the time is over; returns how often.
inline unsigned long long fuzzFor(int argc, char** argv, void (*one)()) {
  double end = secondsNow() + (argc > 1 ? atof(argv[1]) : 5);
  uint64_t seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : 1;
  if (seed != 0) randomState = seed;
  unsigned long long runs = 0;
  do {
    for (int i = 0; i < 50; i++, runs++) one();
  } while (secondsNow() < end);
  return runs;
}

#endif
