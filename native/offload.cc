#include "offload.h"

#include <cstring>

#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;
constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpPush = 0x08;
constexpr uint8_t kTcpCwr = 0x80;

uint16_t read16(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }
uint32_t read32(const uint8_t* at) { return uint32_t{read16(at)} << 16 | read16(at + 2); }
void write16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}
void write32(uint8_t* at, uint32_t value) {
  write16(at, value >> 16);
  write16(at + 2, value);
}

uint16_t fold(uint64_t sum) {
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>((sum >> 16) + (sum & 0xffff));
}

// A folded sum of words read in host order, in network order: the ones' complement sum does not care (RFC 1071).
uint16_t toNetworkOrder(uint16_t sum) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return static_cast<uint16_t>(sum << 8 | sum >> 8);
#else
  return sum;
#endif
}

// Sum of host-order words; addition with end-around carry, eight bytes at a time.
uint64_t sumScalar(const uint8_t* at, uint64_t length) {
  uint64_t sum = 0;
  while (length >= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    sum += word;
    sum += sum < word;
    at += 8;
    length -= 8;
  }
  if (length > 0) {
    uint64_t word = 0;
    memcpy(&word, at, length);  // the bytes behind the last count as zero
    sum += word;
    sum += sum < word;
  }
  return fold(sum);
}

#if defined(__x86_64__)
// Sums the 32-bit halves of each lane into 64-bit lanes, which cannot overflow before 2^32 additions.
__attribute__((target("avx2"))) uint64_t sumAvx2(const uint8_t* at, uint64_t length) {
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i a = _mm256_setzero_si256();
  __m256i b = _mm256_setzero_si256();
  __m256i c = _mm256_setzero_si256();
  __m256i d = _mm256_setzero_si256();
  while (length >= 64) {
    __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
    a = _mm256_add_epi64(a, _mm256_and_si256(x, low));
    b = _mm256_add_epi64(b, _mm256_srli_epi64(x, 32));
    c = _mm256_add_epi64(c, _mm256_and_si256(y, low));
    d = _mm256_add_epi64(d, _mm256_srli_epi64(y, 32));
    at += 64;
    length -= 64;
  }
  a = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), a);
  return uint64_t{fold(lanes[0])} + fold(lanes[1]) + fold(lanes[2]) + fold(lanes[3]) + sumScalar(at, length);
}
#endif

using Sum = uint64_t (*)(const uint8_t*, uint64_t);

Sum fastestSum() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) return sumAvx2;
#endif
  return sumScalar;
}

const Sum sumWords = fastestSum();

}  // namespace

uint16_t checksumScalar(const uint8_t* bytes, uint64_t length, uint64_t initial) {
  return fold(uint64_t{toNetworkOrder(fold(sumScalar(bytes, length)))} + fold(initial));
}

uint16_t checksum(const uint8_t* bytes, uint64_t length, uint64_t initial) {
  return fold(uint64_t{toNetworkOrder(fold(sumWords(bytes, length)))} + fold(initial));
}

bool completeChecksum(uint8_t* bytes, uint32_t length, uint32_t start, uint32_t offset) {
  if (uint64_t{start} + offset + 2 > length) return false;
  // The field already holds the pseudo header's sum, so summing it along is right.
  uint16_t sum = static_cast<uint16_t>(~checksum(bytes + start, length - start, 0));
  write16(bytes + start + offset, sum == 0 ? 0xffff : sum);  // 0 would mean "none" in UDP
  return true;
}

bool completeChecksum(Pool* pool, int32_t handle) {
  int32_t start = pool->checksumStart[handle];
  int32_t offset = pool->checksumOffset[handle];
  if (start < 0) return true;
  if (offset < 0 || !completeChecksum(pool->bytes(handle), static_cast<uint32_t>(pool->length[handle]),
                                      static_cast<uint32_t>(start), static_cast<uint32_t>(offset))) {
    return false;
  }
  pool->checksumStart[handle] = -1;
  pool->checksumOffset[handle] = 0;
  return true;
}

uint32_t ethernetHeaderLength(const uint8_t* frame, uint32_t length) {
  uint32_t header = 14;
  for (int tags = 0; tags < 2; tags++) {
    if (length < header) return 0;
    uint16_t type = read16(frame + header - 2);
    if (type != 0x8100 && type != 0x88a8) break;
    header += 4;
  }
  return length < header ? 0 : header;
}

bool Transport::find(const uint8_t* bytes, uint32_t length, uint32_t l3) {
  fragment = false;
  if (l3 >= length) return false;
  version = bytes[l3] >> 4;
  if (version == 4) {
    if (length - l3 < 20) return false;
    uint32_t header = (bytes[l3] & 15u) * 4;
    if (header < 20 || header > length - l3) return false;
    protocol = bytes[l3 + 9];
    fragment = (read16(bytes + l3 + 6) & 0x3fff) != 0;
    offset = l3 + header;
    return true;
  }
  if (version != 6 || length - l3 < 40) return false;
  protocol = bytes[l3 + 6];
  offset = l3 + 40;
  destination = l3 + 24;
  bool routed = false;
  while (true) {
    // Hop-by-hop, routing and destination options count in 8 bytes after the first 8 (RFC 8200 4).
    if (protocol != 0 && protocol != 43 && protocol != 60 && protocol != 44) return true;
    if (length - offset < 8) return false;
    uint32_t size = 8;
    if (protocol == 44) {
      if ((read16(bytes + offset + 2) & 0xfff9) != 0) fragment = true;
      routed = true;  // what lies behind is not looked into
    } else {
      size = (bytes[offset + 1] + 1u) * 8;
    }
    if (size > length - offset) return false;
    if (protocol == 43 && !routed && bytes[offset + 3] > 0 && size >= 24) {
      // Types 0 and 2 (RFC 6275) end with the final destination; the list of type 4 (RFC 8754) runs backwards.
      uint8_t type = bytes[offset + 2];
      routed = type == 0 || type == 2 || type == 4;
      if (routed) destination = offset + 8 + (type == 4 ? 0 : ((size - 8) / 16 - 1) * 16);
    }
    protocol = bytes[offset];
    offset += size;
  }
}

bool Superframe::parse(const uint8_t* frame, int64_t length, uint32_t l3Offset, uint8_t gsoType, int64_t size) {
  if (length <= 0 || length > kLargeSlot || size <= 0 || size > 0xffff) return false;
  Transport transport;
  uint32_t end = static_cast<uint32_t>(length);
  if (!transport.find(frame, end, l3Offset) || transport.fragment) return false;
  uint8_t type = gsoType & static_cast<uint8_t>(~kGsoEcn);
  tcp = type == kGsoTcp4 || type == kGsoTcp6;
  if (!tcp && type != kGsoUdp) return false;
  if (type == kGsoTcp4 && transport.version != 4) return false;
  if (type == kGsoTcp6 && transport.version != 6) return false;
  if (transport.protocol != (tcp ? kProtocolTcp : kProtocolUdp)) return false;
  uint32_t room = end - transport.offset;
  uint32_t header = 8;
  if (tcp) {
    if (room < 20) return false;
    header = (frame[transport.offset + 12] >> 4) * 4u;
    if (header < 20) return false;
  }
  if (header >= room) return false;
  bytes = frame;
  l3 = l3Offset;
  l4 = transport.offset;
  destination = transport.destination;
  headers = l4 + header;
  payload = end - headers;
  segmentSize = static_cast<uint32_t>(size);
  segments = (payload + segmentSize - 1) / segmentSize;
  // Each segment must fit the length field of its IP header.
  if (segmentLength(0) - l3 > 0xffff) return false;
  ipv6 = transport.version == 6;
  return segments <= kMaxSegments;
}

bool Superframe::parse(const Pool* pool, int32_t handle) {
  return parse(pool->bytes(handle), pool->length[handle], pool->l3Offset[handle], pool->gsoType[handle],
               pool->segmentSize[handle]);
}

uint32_t Superframe::write(uint32_t index, uint8_t* out) const {
  uint32_t chunk = segmentPayload(index);
  uint32_t total = headers + chunk;
  bool last = index + 1 == segments;
  memcpy(out, bytes, headers);
  memcpy(out + headers, bytes + headers + uint64_t{index} * segmentSize, chunk);

  uint8_t* ip = out + l3;
  uint8_t* transport = out + l4;
  uint32_t transportLength = total - l4;
  uint64_t pseudo = transportLength + uint64_t{tcp ? kProtocolTcp : kProtocolUdp};
  if (ipv6) {
    write16(ip + 4, total - l3 - 40);
    pseudo += uint64_t{checksum(ip + 8, 16, 0)} + checksum(out + destination, 16, 0);
  } else {
    write16(ip + 2, total - l3);
    write16(ip + 4, read16(ip + 4) + index);
    write16(ip + 10, 0);
    write16(ip + 10, static_cast<uint16_t>(~checksum(ip, l4 - l3, 0)));
    pseudo += checksum(ip + 12, 8, 0);
  }

  uint32_t field = 16;
  if (tcp) {
    write32(transport + 4, read32(transport + 4) + index * segmentSize);
    if (!last) transport[13] &= static_cast<uint8_t>(~(kTcpFin | kTcpPush));
    if (index > 0) transport[13] &= static_cast<uint8_t>(~kTcpCwr);
  } else {
    field = 6;
    write16(transport + 4, transportLength);
  }
  write16(transport + field, 0);
  uint16_t sum = static_cast<uint16_t>(~checksum(transport, transportLength, pseudo));
  write16(transport + field, sum == 0 && !tcp ? 0xffff : sum);
  return total;
}

bool FrameInfo::read(const VirtioHeader& header, const uint8_t* frame, uint32_t length, int layer) {
  *this = FrameInfo();
  if (length == 0) return false;
  if (layer == 2) {
    uint32_t ethernet = ethernetHeaderLength(frame, length);
    if (ethernet == 0) return false;
    l3Offset = static_cast<uint16_t>(ethernet);
  }
  wireBytes = length;
  if (header.flags & kVirtioDataValid) flags |= kChecksumValid;
  bool open = (header.flags & kVirtioNeedsChecksum) != 0;
  if (open) {
    if (uint32_t{header.checksumStart} + header.checksumOffset + 2 > length) return false;
    checksumStart = header.checksumStart;
    checksumOffset = header.checksumOffset;
  }
  uint8_t type = header.gsoType;
  if (type == kGsoNone) return true;

  // header.headerLength is not believed: the headers themselves say where the payload starts.
  Superframe superframe;
  if (!open || !superframe.parse(frame, length, l3Offset, type, header.segmentSize)) return false;
  if (superframe.l4 != header.checksumStart || header.checksumOffset != (superframe.tcp ? 16 : 6)) return false;
  if (superframe.segments == 1) return true;
  gsoType = type;
  segmentSize = header.segmentSize;
  segments = static_cast<int32_t>(superframe.segments);
  wireBytes = superframe.wireBytes();
  return true;
}

void FrameInfo::store(Pool* pool, int32_t handle) const {
  pool->l3Offset[handle] = l3Offset;
  pool->gsoType[handle] = gsoType;
  pool->flags[handle] = flags;
  pool->segmentSize[handle] = segmentSize;
  pool->segments[handle] = segments;
  pool->checksumStart[handle] = checksumStart;
  pool->checksumOffset[handle] = checksumOffset;
}

VirtioHeader virtioHeaderOf(const Pool* pool, int32_t handle, const Superframe* superframe) {
  VirtioHeader header{};
  int32_t start = pool->checksumStart[handle];
  if (start >= 0) {
    header.flags = kVirtioNeedsChecksum;
    header.checksumStart = static_cast<uint16_t>(start);
    header.checksumOffset = static_cast<uint16_t>(pool->checksumOffset[handle]);
  }
  if (superframe != nullptr) {
    header.gsoType = pool->gsoType[handle];
    header.segmentSize = static_cast<uint16_t>(superframe->segmentSize);
    header.headerLength = static_cast<uint16_t>(superframe->headers);
  }
  return header;
}

uint32_t offloadBit(uint8_t gsoType) {
  switch (gsoType & ~kGsoEcn) {
    case kGsoTcp4:
      return 2;
    case kGsoTcp6:
      return 4;
    case kGsoUdp:
      return 8;
    default:
      return 0;
  }
}
