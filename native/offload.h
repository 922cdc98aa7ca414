// Bytes of packets: completing checksums, and cutting superframes into wire packets. Nothing here knows of JavaScript, so
// that the fuzzer can drive it alone (native/fuzz).
#pragma once

#include <cstdint>

#include "checksum.h"

struct Pool;

// virtio_net_hdr gso_type.
constexpr uint8_t kGsoNone = 0;
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoTcp6 = 4;
constexpr uint8_t kGsoUdp = 5;
constexpr uint8_t kGsoEcn = 0x80;

// More segments than any kernel makes of 64 KiB (Linux: MSS of at least 48); what claims more is hostile.
constexpr uint32_t kMaxSegments = 2048;

// Fills the 16-bit field at start + offset, which holds the pseudo header's sum, with the checksum of
// bytes[start..length). False when the field does not lie inside.
bool completeChecksum(uint8_t* bytes, uint32_t length, uint32_t start, uint32_t offset);
// The same for a valid handle, if its checksum is open. False, with nothing changed, when it names no field inside.
bool completeChecksum(Pool* pool, int32_t handle);

// Length of the Ethernet header with up to two VLAN tags; 0 when the frame is too short for one.
uint32_t ethernetHeaderLength(const uint8_t* frame, uint32_t length);

// The transport header behind an IP header and its extension headers.
struct Transport {
  uint8_t version = 0;  // 4 or 6
  uint8_t protocol = 0;
  bool fragment = false;
  uint32_t offset = 0;
  // Of the IPv6 address that checksums are made over: the header's destination, or the last one of a routing header
  // that has segments left (RFC 8200 8.1).
  uint32_t destination = 0;
  // False when the headers do not fit into `length`.
  bool find(const uint8_t* bytes, uint32_t length, uint32_t l3);
};

// A superframe's layout, checked once; afterwards no access can leave bytes[0..length).
struct Superframe {
  const uint8_t* bytes = nullptr;
  uint32_t l3 = 0;
  uint32_t l4 = 0;
  uint32_t destination = 0;  // see Transport
  uint32_t headers = 0;      // everything in front of the payload
  uint32_t payload = 0;
  uint32_t segmentSize = 0;
  uint32_t segments = 0;
  bool ipv6 = false;
  bool tcp = false;

  bool parse(const Pool* pool, int32_t handle);
  bool parse(const uint8_t* bytes, int64_t length, uint32_t l3Offset, uint8_t gsoType, int64_t segmentSize);
  uint32_t segmentPayload(uint32_t index) const {
    return index + 1 < segments ? segmentSize : payload - index * segmentSize;
  }
  uint32_t segmentLength(uint32_t index) const { return headers + segmentPayload(index); }
  // Bytes of all segments with their headers.
  double wireBytes() const { return double{1} * segments * headers + payload; }
};

// Cuts a superframe, which must stay as it is: what all wire packets have in common is summed once.
class Segmenter {
 public:
  explicit Segmenter(const Superframe& frame);
  // Writes wire packet `index` with complete checksums; returns its length. `out` must hold segmentLength(index) and be
  // apart from the superframe.
  uint32_t write(uint32_t index, uint8_t* out) const;

 private:
  Superframe frame_;
  uint32_t sequence_ = 0;    // TCP: of the first
  uint16_t id_ = 0;          // IPv4: of the first
  uint8_t tcpFlags_ = 0;     // of the whole
  uint64_t ipSum_ = 0;       // of the IPv4 header without length, identification and checksum
  uint64_t transportSum_;    // of pseudo and transport header without lengths, sequence number, flags and checksum
};

// struct virtio_net_hdr_mrg_rxbuf; linux/virtio_net.h has a field called `class` and is no C++. Host byte order.
struct VirtioHeader {
  uint8_t flags;
  uint8_t gsoType;
  uint16_t headerLength;
  uint16_t segmentSize;
  uint16_t checksumStart;
  uint16_t checksumOffset;
  uint16_t buffers;
};
static_assert(sizeof(VirtioHeader) == 12, "the kernel's layout");
constexpr uint8_t kVirtioNeedsChecksum = 1;
constexpr uint8_t kVirtioDataValid = 2;

// What a received frame is, after its virtio header and its own headers were found to agree.
struct FrameInfo {
  uint16_t l3Offset = 0;
  uint8_t gsoType = kGsoNone;
  uint8_t flags = 0;
  int32_t segmentSize = 0;
  int32_t segments = 1;
  int32_t checksumStart = -1;
  int32_t checksumOffset = 0;
  double wireBytes = 0;
  // False when the header is a lie: nothing of the frame may be used.
  bool read(const VirtioHeader& header, const uint8_t* frame, uint32_t length, int layer);
  void store(Pool* pool, int32_t handle) const;
};

// The virtio header that tells the kernel about a packet of ours; `superframe` is its layout, or null.
VirtioHeader virtioHeaderOf(const Pool* pool, int32_t handle, const Superframe* superframe);
// The `TunOffload` bit that a receiver of this superframe whole needs.
uint32_t offloadBit(uint8_t gsoType);
