#include "offload.h"

#include <cstring>

#include "pool.h"
#include "wire.h"

namespace {

// Nearly all headers have 28 to 64 bytes, and a call of memcpy for them would be a tenth of what a segment costs.
inline void copyHeaders(uint8_t* to, const uint8_t* from, uint32_t length) {
  if (length >= 32 && length <= 64) {
    memcpy(to, from, 32);
    memcpy(to + length - 32, from + length - 32, 32);
  } else {
    memcpy(to, from, length);
  }
}

}  // namespace

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

Segmenter::Segmenter(const Superframe& frame) : frame_(frame) {
  const uint8_t* ip = frame.bytes + frame.l3;
  const uint8_t* transport = frame.bytes + frame.l4;
  transportSum_ = swapToNetwork(frame.tcp ? kProtocolTcp : kProtocolUdp);
  if (frame.ipv6) {
    transportSum_ += sumHeader(ip + 8, 16) + sumHeader(frame.bytes + frame.destination, 16);
  } else {
    transportSum_ += sumHeader(ip + 12, 8);
    id_ = read16(ip + 4);
    ipSum_ = loadWord(ip) + sumHeader(ip + 6, 4) + sumHeader(ip + 12, frame.l4 - frame.l3 - 12);
  }
  transportSum_ += sumHeader(transport, 4);  // ports
  if (!frame.tcp) return;
  sequence_ = read32(transport + 4);
  tcpFlags_ = transport[13];
  transportSum_ += sumHeader(transport + 8, 4) + swapToNetwork(uint32_t{transport[12]} << 8) + loadWord(transport + 14) +
                   loadWord(transport + 18) + sumHeader(transport + 20, frame.headers - frame.l4 - 20);
}

uint32_t Segmenter::write(uint32_t index, uint8_t* out) const {
  const uint32_t chunk = frame_.segmentPayload(index);
  const uint32_t total = frame_.headers + chunk;
  const uint64_t begin = uint64_t{index} * frame_.segmentSize;
  copyHeaders(out, frame_.bytes, frame_.headers);
  uint64_t sum = transportSum_ + copyWords(out + frame_.headers, frame_.bytes + frame_.headers + begin, chunk);

  uint8_t* ip = out + frame_.l3;
  if (frame_.ipv6) {
    write16(ip + 4, total - frame_.l3 - 40);
  } else {
    uint16_t length = swapToNetwork(total - frame_.l3);
    uint16_t id = swapToNetwork(id_ + index);
    storeWord(ip + 2, length);
    storeWord(ip + 4, id);
    storeWord(ip + 10, static_cast<uint16_t>(~foldSum(ipSum_ + length + id)));
  }

  uint8_t* transport = out + frame_.l4;
  uint16_t length = swapToNetwork(total - frame_.l4);
  sum += length;  // in the pseudo header
  if (!frame_.tcp) {
    storeWord(transport + 4, length);
    sum += length;
    uint16_t inverted = static_cast<uint16_t>(~foldSum(sum));
    storeWord(transport + 6, inverted == 0 ? 0xffff : inverted);  // 0 would mean that there is none
    return total;
  }
  uint32_t sequence = swapToNetwork32(sequence_ + static_cast<uint32_t>(begin));
  uint8_t flags = tcpFlags_;
  if (index + 1 < frame_.segments) flags &= static_cast<uint8_t>(~(kFin | kPush));
  if (index > 0) flags &= static_cast<uint8_t>(~kCwr);
  storeTwoWords(transport + 4, sequence);
  transport[13] = flags;
  sum += uint64_t{sequence} + swapToNetwork(flags);
  storeWord(transport + 16, static_cast<uint16_t>(~foldSum(sum)));
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
