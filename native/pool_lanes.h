// Bursts sixteen packets at a time, where the processor has AVX-512: a row of a descriptor is one register. Packets whose
// slots stand in a row, up or down, as they do that were made together, are looked at, counted and freed together; the
// first sixteen that do not are left to the loops of pool_burst.cc, which do the same one by one.
#pragma once

#include <cstdint>

#include "pool.h"

constexpr int32_t kLanes = 16;

// The tops of the free stacks and what a burst owes to an account, while it goes on.
struct Tops {
  int32_t descriptors;
  int32_t small;
  int32_t payer = -1;
  int32_t paid = 0;
};

// Each returns how many packets it has done, a multiple of 16: none without AVX-512.

// Rows like `pattern` over fresh small slots of `account`. With `size`, up to 64, that many of 64 readable bytes go to
// `before` bytes in front of each packet's first.
int32_t makeLanes(Pool* pool, const int32_t* pattern, double at, int32_t account, int32_t* into, int32_t n, Tops* tops,
                  const uint8_t* bytes, int32_t size, int32_t before);
// `also`, unless it is null, gets the originals.
int32_t cloneLanes(Pool* pool, const int32_t* from, int32_t n, int32_t* into, int32_t* also, Tops* tops, Tally* tally);
// As many as account `payer` has room for; the caller has set it and charges it what is `paid`.
int32_t copyLanes(Pool* pool, const int32_t* from, int32_t n, int32_t* into, Tops* tops, Tally* tally);
// Leaves what account `payer` gets back in `paid`.
int32_t freeLanes(Pool* pool, const int32_t* handles, int32_t n, Tops* tops, Tally* tally);
