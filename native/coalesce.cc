#include "coalesce.h"

#include <cstring>

#include "offload.h"
#include "wire.h"

namespace {

constexpr uint32_t kMaxIpLength = 0xffff;
// UDP: what every kernel since 6.2 takes as one USO frame (UDP_MAX_SEGMENTS; 128 since 6.9). TCP: 64 KiB at the MSS of
// 536, and a bound on what one frame of tiny segments costs whoever must cut it.
constexpr uint32_t kMostUdp = 64;
constexpr uint32_t kMostTcp = 128;

uint64_t load64(const uint8_t* at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

bool equal16(const uint8_t* a, const uint8_t* b) { return loadWord(a) == loadWord(b); }
bool equal32(const uint8_t* a, const uint8_t* b) { return loadTwoWords(a) == loadTwoWords(b); }
bool equal64(const uint8_t* a, const uint8_t* b) { return load64(a) == load64(b); }

bool equalAddresses(const uint8_t* a, const uint8_t* b, bool ipv6) {
  if (!ipv6) return equal64(a + 12, b + 12);
  return ((load64(a + 8) ^ load64(b + 8)) | (load64(a + 16) ^ load64(b + 16)) | (load64(a + 24) ^ load64(b + 24)) |
          (load64(a + 32) ^ load64(b + 32))) == 0;
}

uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ hash >> 32;
}

// What stands there is not what the framing says.
constexpr uint32_t kNoPrefix = UINT32_MAX;

// NSH with what carries it in front of an IP packet: of no other version, no probe (O bit), of the inner protocol that its
// next protocol says, and together no longer than fits in front of any packet.
uint32_t nshPrefix(const uint8_t* bytes, uint32_t length, uint32_t outer) {
  if (length < outer + 8) return kNoPrefix;
  const uint8_t* nsh = bytes + outer;
  uint32_t words = nsh[1] & 0x3fu;
  uint32_t prefix = outer + words * 4;
  if ((nsh[0] & 0xe0) != 0 || words < 2 || length <= prefix || prefix > kMaxPrefix) return kNoPrefix;
  uint32_t version = nsh[3] == 1 ? 4 : nsh[3] == 2 ? 6 : 0;
  return version == bytes[prefix] >> 4 ? prefix : kNoPrefix;
}

// Bytes in front of the packet.
uint32_t prefixOf(Framing framing, const uint8_t* bytes, uint32_t length) {
  switch (framing) {
    case Framing::kEtherIp:
      return length > 2 && bytes[0] == 0x30 && bytes[1] == 0 ? 2 : kNoPrefix;
    case Framing::kGpe:
      // The instance and next protocol bits, and NSH.
      return length > 8 && bytes[0] == 0x0c && bytes[3] == 4 ? nshPrefix(bytes, length, 8) : kNoPrefix;
    case Framing::kGeneve:
      // Version 0, no control packet, EtherType 0x894f.
      if (length <= 8 || bytes[0] >> 6 != 0 || (bytes[1] & 0x80) != 0 || read16(bytes + 2) != 0x894f) return kNoPrefix;
      return nshPrefix(bytes, length, 8 + (bytes[0] & 0x3fu) * 4);
    default:
      return length > 0 ? 0 : kNoPrefix;
  }
}

bool samePrefix(const Train& train, const uint8_t* bytes, uint32_t prefix) {
  return train.prefix == prefix && memcmp(train.bytes - prefix, bytes, prefix) == 0;
}

// Sums what all packets of the train have in common.
void sumCommon(Train* train) {
  const uint8_t* ip = train->bytes + train->l3;
  const uint8_t* transport = train->bytes + train->l4;
  train->pseudo = swapToNetwork(train->tcp ? kProtocolTcp : kProtocolUdp);
  if (train->ipv6) {
    train->pseudo += sumHeader(ip + 8, 32);
  } else {
    train->pseudo += sumHeader(ip + 12, 8);
    train->ipCommon = loadWord(ip) + sumHeader(ip + 6, 4) + sumHeader(ip + 12, 8);
  }
  train->transportCommon = train->pseudo + sumHeader(transport, 4);
  if (!train->tcp) return;
  train->transportCommon += sumHeader(transport + 8, 4) + swapToNetwork(uint32_t{transport[12]} << 8) +
                            loadWord(transport + 14) + loadWord(transport + 18) +
                            sumHeader(transport + 20, train->headers - train->l4 - 20);
}

// Whether the checksums of the train's first packet, or of one that continues it, are right: their headers differ in
// nothing but what is added here.
bool verified(const Train& train, const uint8_t* frame, uint32_t length, uint64_t payloadSum) {
  const uint8_t* ip = frame + train.l3;
  const uint8_t* transport = frame + train.l4;
  if (!train.ipv6 &&
      foldSum(train.ipCommon + loadWord(ip + 2) + loadWord(ip + 4) + loadWord(ip + 10)) != 0xffff) {
    return false;
  }
  uint64_t sum = train.transportCommon + payloadSum + swapToNetwork(length - train.l4);
  if (train.tcp) {
    sum += uint64_t{loadTwoWords(transport + 4)} + swapToNetwork(transport[13]) + loadWord(transport + 16);
  } else {
    sum += loadTwoWords(transport + 4);  // length and checksum
  }
  return foldSum(sum) == 0xffff;
}

// Whether the packet's headers are those that segmentation would give the train's next packet. Its layout needs no
// looking at: where the bytes that decide about it are equal, it is the train's.
bool continues(const Train& train, const uint8_t* frame, uint32_t length) {
  if (length <= train.headers || length > train.headers + train.segmentSize) return false;
  const uint8_t* first = train.bytes;
  if (train.l3 > 0 && memcmp(first, frame, train.l3) != 0) return false;
  const uint8_t* ip = frame + train.l3;
  const uint8_t* firstIp = first + train.l3;
  if (train.ipv6) {
    // Version, traffic class and flow label; next header and hop limit.
    if (!equal32(firstIp, ip) || !equal16(firstIp + 6, ip + 6)) return false;
    if (read16(ip + 4) != length - train.l3 - 40) return false;
  } else {
    // Version, header length and DS field; DF, TTL and protocol.
    if (!equal16(firstIp, ip) || !equal32(firstIp + 6, ip + 6)) return false;
    if (read16(ip + 2) != length - train.l3) return false;
    uint16_t id = static_cast<uint16_t>(read16(ip + 4));
    if (train.segments == 1) {
      // With DF the identification means nothing (RFC 6864 4.1), and many senders leave it as it is.
      bool constant = id == train.id && (ip[6] & 0x40) != 0;
      if (!constant && id != static_cast<uint16_t>(train.id + 1)) return false;
    } else if (id != static_cast<uint16_t>(train.id + train.idStep * train.segments)) {
      return false;
    }
  }
  if (!equalAddresses(firstIp, ip, train.ipv6)) return false;
  const uint8_t* transport = frame + train.l4;
  const uint8_t* firstTransport = first + train.l4;
  if (!equal32(firstTransport, transport)) return false;
  if (!train.tcp) return read16(transport + 4) == length - train.l4 && loadWord(transport + 6) != 0;
  if (read32(transport + 4) != train.sequence || !equal32(firstTransport + 8, transport + 8)) return false;
  if (firstTransport[12] != transport[12] || (transport[13] & ~kPush) != kAck) return false;
  // Window; urgent pointer; options.
  if (!equal16(firstTransport + 14, transport + 14) || !equal16(firstTransport + 18, transport + 18)) return false;
  uint32_t options = train.headers - train.l4 - 20;
  return options == 0 || memcmp(firstTransport + 20, transport + 20, options) == 0;
}

// Makes the headers of the first packet those of the whole.
void seal(const Train& train) {
  uint8_t* ip = train.bytes + train.l3;
  uint8_t* transport = train.bytes + train.l4;
  uint32_t transportLength = train.length - train.l4;
  if (train.ipv6) {
    write16(ip + 4, train.length - train.l3 - 40);
  } else {
    write16(ip + 2, train.length - train.l3);
    storeWord(ip + 10, static_cast<uint16_t>(~foldSum(train.ipCommon + loadWord(ip + 2) + loadWord(ip + 4))));
  }
  if (train.tcp) {
    if (train.push) transport[13] |= kPush;
  } else {
    write16(transport + 4, transportLength);
  }
  storeWord(transport + train.checksumOffset(), foldSum(train.pseudo + swapToNetwork(transportLength)));
}

}  // namespace

uint8_t Train::gsoType() const { return !tcp ? kGsoUdp : ipv6 ? kGsoTcp6 : kGsoTcp4; }

void Coalescer::begin(Framing framing) {
  framing_ = framing;
  usedCount_ = 0;
  last_ = nullptr;
  candidate_.mergeable = false;
  if (++generation_ == 0) {
    memset(generations_, 0, sizeof generations_);
    generation_ = 1;
  }
}

// Where the packet's headers are, which flow it is of, and whether it may begin a train.
void Coalescer::read(const uint8_t* frame, uint32_t length) {
  Candidate& found = candidate_;
  found.length = length;
  found.l3 = 0;
  found.keyed = found.fragment = found.mergeable = false;
  if (framing_ == Framing::kEtherIp || framing_ == Framing::kEthernet) {
    found.l3 = ethernetHeaderLength(frame, length);
    if (found.l3 == 0) return;
    uint32_t type = read16(frame + found.l3 - 2);
    if (type != 0x0800 && type != 0x86dd) return;
    if (length > found.l3 && frame[found.l3] >> 4 != (type == 0x0800 ? 4 : 6)) return;
  }
  Transport transport;
  if (!transport.find(frame, length, found.l3)) return;
  if (transport.protocol != kProtocolTcp && transport.protocol != kProtocolUdp) return;
  found.tcp = transport.protocol == kProtocolTcp;
  found.ipv6 = transport.version == 6;
  found.l4 = transport.offset;
  found.fragment = transport.fragment;
  if (found.fragment || length - found.l4 < (found.tcp ? 20u : 8u)) return;

  found.keyed = true;
  const uint8_t* ip = frame + found.l3;
  uint64_t hash = mix(static_cast<uint32_t>(found.sender), loadTwoWords(frame + found.l4) + uint64_t{found.tcp});
  if (found.ipv6) {
    for (int i = 8; i < 40; i += 8) hash = mix(hash, load64(ip + i));
  } else {
    hash = mix(hash, load64(ip + 12));
  }
  found.hash = hash;
  found.mergeable = readTransport(frame, length);
}

bool Coalescer::readTransport(const uint8_t* frame, uint32_t length) {
  Candidate& found = candidate_;
  const uint8_t* ip = frame + found.l3;
  if (found.ipv6) {
    if (found.l4 != found.l3 + 40 || read16(ip + 4) != length - found.l4) return false;
  } else {
    // Nothing but DF where fragments have their offset; the bit in front of it is reserved.
    if (found.l4 != found.l3 + 20 || (read16(ip + 6) & 0xbfff) != 0 || read16(ip + 2) != length - found.l3) return false;
  }
  const uint8_t* transport = frame + found.l4;
  if (!found.tcp) {
    found.headers = found.l4 + 8;
    return length > found.headers && read16(transport + 4) == length - found.l4 && loadWord(transport + 6) != 0;
  }
  uint32_t header = (transport[12] >> 4) * 4u;
  found.headers = found.l4 + header;
  // PSH would end the train before anything can join it.
  return header >= 20 && length > found.headers && (transport[12] & 15) == 0 && transport[13] == kAck;
}

bool Coalescer::sameFlow(const Train& train, const uint8_t* frame) const {
  const Candidate& packet = candidate_;
  return train.sender == packet.sender && train.ipv6 == packet.ipv6 && train.tcp == packet.tcp &&
         equal32(train.bytes + train.l4, frame + packet.l4) &&
         equalAddresses(train.bytes + train.l3, frame + packet.l3, packet.ipv6);
}

// The last train of the candidate's flow. Whatever the addresses are, few places are looked at.
Train* Coalescer::find(const uint8_t* frame) {
  uint32_t home = static_cast<uint32_t>(candidate_.hash) % kTrains;
  for (uint32_t probe = 0; probe < kProbes; probe++) {
    found_ = (home + probe) % kTrains;
    if (generations_[found_] != generation_) return nullptr;
    if (hashes_[found_] == candidate_.hash && sameFlow(trains_[found_], frame)) return &trains_[found_];
  }
  // All places are taken: the flow at home makes room, and starts anew if it goes on.
  found_ = home;
  close(&trains_[home]);
  return nullptr;
}

bool Coalescer::join(const uint8_t* bytes, uint32_t length, int32_t sender, uint8_t trafficClass) {
  uint32_t prefix = prefixOf(framing_, bytes, length);
  candidate_.mergeable = false;
  if (prefix == kNoPrefix) return false;
  candidate_.prefix = prefix;
  const uint8_t* frame = bytes + prefix;
  length -= prefix;
  // Nearly always the packet continues the train that the one before it did.
  if (last_ != nullptr && last_->open && last_->sender == sender && last_->trafficClass == trafficClass &&
      samePrefix(*last_, bytes, prefix) && continues(*last_, frame, length) && append(last_, frame, length)) {
    return true;
  }
  candidate_.trafficClass = trafficClass;
  Train* train = look(frame, length, sender);
  if (train == nullptr) return false;
  if (train->trafficClass == trafficClass && samePrefix(*train, bytes, prefix) && continues(*train, frame, length) &&
      append(train, frame, length)) {
    return true;
  }
  close(train);
  return false;
}

void Coalescer::pass(const uint8_t* frame, uint32_t length, int32_t sender) {
  Train* train = look(frame, length, sender);
  if (train != nullptr) close(train);
  candidate_.mergeable = false;
}

// The open train of a packet's flow, or null.
Train* Coalescer::look(const uint8_t* frame, uint32_t length, int32_t sender) {
  candidate_.sender = sender;
  read(frame, length);
  if (candidate_.fragment) closeSender(sender);
  Train* train = candidate_.keyed ? find(frame) : nullptr;
  return train != nullptr && train->open ? train : nullptr;
}

void Coalescer::start(uint8_t* bytes, uint32_t room, int32_t tag) {
  const Candidate& packet = candidate_;
  if (!packet.mergeable) return;
  uint32_t prefix = packet.prefix;
  const uint8_t* ip = bytes + prefix + packet.l3;
  Train& train = trains_[found_];
  train.prefix = prefix;
  train.bytes = bytes + prefix;
  train.room = room - prefix;
  train.tag = tag;
  train.length = packet.length;
  train.l3 = packet.l3;
  train.l4 = packet.l4;
  train.headers = packet.headers;
  train.segmentSize = packet.length - packet.headers;
  train.segments = 1;
  train.sequence = packet.tcp ? read32(bytes + prefix + packet.l4 + 4) + train.segmentSize : 0;
  train.id = packet.ipv6 ? 0 : static_cast<uint16_t>(read16(ip + 4));
  train.idStep = 0;
  train.sender = packet.sender;
  train.trafficClass = packet.trafficClass;
  train.ipv6 = packet.ipv6;
  train.tcp = packet.tcp;
  train.open = true;
  train.push = false;
  if (generations_[found_] != generation_) {
    generations_[found_] = generation_;
    used_[usedCount_++] = static_cast<uint16_t>(found_);
  }
  hashes_[found_] = packet.hash;
  last_ = &train;
  candidate_.mergeable = false;
}

// Adds the payload of a packet that continues the train, if its checksums are right and there is room.
bool Coalescer::append(Train* train, const uint8_t* frame, uint32_t length) {
  uint32_t payload = length - train->headers;
  if (train->length - train->l3 + payload > kMaxIpLength) return false;
  // The first packet is looked at only now that it is worth it.
  if (train->segments == 1) {
    sumCommon(train);
    uint64_t sum = sumWords(train->bytes + train->headers, train->segmentSize);
    if (!verified(*train, train->bytes, train->length, sum)) return false;
  }
  const uint8_t* from = frame + train->headers;
  if (train->length + payload > train->room) {
    // A larger place is taken for good packets only.
    if (!verified(*train, frame, length, sumWords(from, payload))) return false;
    if (!owner_->grow(train, train->length + payload)) return false;
    memcpy(train->bytes + train->length, from, payload);
  } else if (!verified(*train, frame, length, copyWords(train->bytes + train->length, from, payload))) {
    return false;  // what was copied lies behind the train's end
  }
  if (train->segments == 1 && !train->ipv6) {
    train->idStep = static_cast<uint16_t>(read16(frame + train->l3 + 4) - train->id);
  }
  train->length += payload;
  train->segments++;
  train->sequence += payload;
  train->push = train->tcp && (frame[train->l4 + 13] & kPush) != 0;
  last_ = train;
  if (payload < train->segmentSize || train->push || train->segments == (train->tcp ? kMostTcp : kMostUdp)) {
    close(train);
  }
  return true;
}

void Coalescer::close(Train* train) {
  if (!train->open) return;
  train->open = false;
  if (train->segments == 1) return;
  seal(*train);
  owner_->closed(*train);
}

// A fragment may be of any flow.
void Coalescer::closeSender(int32_t sender) {
  for (uint32_t i = 0; i < usedCount_; i++) {
    if (trains_[used_[i]].sender == sender) close(&trains_[used_[i]]);
  }
}

void Coalescer::finish() {
  for (uint32_t i = 0; i < usedCount_; i++) close(&trains_[used_[i]]);
  usedCount_ = 0;
  last_ = nullptr;
}
