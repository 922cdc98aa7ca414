// Numbers as they stand in packets: in network byte order, at any address.
#pragma once

#include <cstdint>

#include "checksum.h"

constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;

// TCP flags.
constexpr uint8_t kFin = 0x01;
constexpr uint8_t kPush = 0x08;
constexpr uint8_t kAck = 0x10;
constexpr uint8_t kCwr = 0x80;

inline uint16_t read16(const uint8_t* at) { return swapToNetwork(loadWord(at)); }
inline uint32_t read32(const uint8_t* at) { return swapToNetwork32(loadTwoWords(at)); }
inline void write16(uint8_t* at, uint32_t value) { storeWord(at, swapToNetwork(value)); }
