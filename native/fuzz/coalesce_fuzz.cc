// Throws streams of packets at the coalescer. What comes out, cut again, must be the packets that went in: each flow's in
// order, none lost, none changed.
//
// Built by scripts/fuzz-native.mjs: with clang as a libFuzzer target, else with g++ and the driver at the end.
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../coalesce.h"
#include "../offload.h"
#include "driver.h"

namespace {

uint64_t merged = 0;

using Packet = std::string;

// What is handed on: a packet and those that joined it, in memory of exactly the size that the coalescer was told.
struct Item {
  std::unique_ptr<uint8_t[]> memory;
  uint32_t length = 0;
  int32_t sender = 0;
  std::vector<Packet> cut;
};

struct Owner final : TrainOwner {
  bool mayGrow = true;
  std::vector<Item> items;

  bool grow(Train* train, uint32_t needed) override {
    if (!mayGrow) return false;
    Item& item = items[static_cast<size_t>(train->tag)];
    uint32_t room = needed + needed % 4 * 700;  // none to spare, or for some more packets
    std::unique_ptr<uint8_t[]> larger(new uint8_t[train->prefix + room]);
    memcpy(larger.get(), item.memory.get(), train->prefix + train->length);
    item.memory = std::move(larger);
    train->bytes = item.memory.get() + train->prefix;
    train->room = room;
    return true;
  }

  void closed(const Train& train) override {
    Item& item = items[static_cast<size_t>(train.tag)];
    require(item.cut.empty(), "a train is closed once");
    Superframe frame;
    require(frame.parse(train.bytes, train.length, train.l3, train.gsoType(), train.segmentSize), "it can be cut");
    require(frame.segments == train.segments && frame.l4 == train.l4 && frame.headers == train.headers,
            "its headers say what it is");
    const Segmenter segmenter(frame);
    for (uint32_t i = 0; i < frame.segments; i++) {
      Packet out(train.prefix + frame.segmentLength(i), '\0');
      memcpy(&out[0], train.bytes - train.prefix, train.prefix);
      segmenter.write(i, reinterpret_cast<uint8_t*>(&out[train.prefix]));
      item.cut.push_back(out);
    }
    merged += frame.segments;
  }
};

struct Offered {
  Packet bytes;
  int32_t sender;
};

// Bytes in front of a packet that may be merged; -1 for one that may not.
int64_t prefixIn(const Packet& packet, Framing framing) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(packet.data());
  size_t outer = 0;
  if (framing == Framing::kEtherIp) return packet.size() > 2 && packet.compare(0, 2, Packet("\x30\0", 2)) == 0 ? 2 : -1;
  if (framing != Framing::kGpe && framing != Framing::kGeneve) return 0;
  if (packet.size() < 16) return -1;
  if (framing == Framing::kGpe) {
    outer = 8;
    if (bytes[0] != 0x0c || bytes[3] != 4) return -1;
  } else {
    outer = 8 + bytes[0] % 64 * 4u;
    if (bytes[0] >= 64 || bytes[1] >= 128 || bytes[2] != 0x89 || bytes[3] != 0x4f || packet.size() < outer + 8) return -1;
  }
  size_t prefix = outer + bytes[outer + 1] % 64 * 4u;
  if (bytes[outer] >= 32 || prefix < outer + 8 || packet.size() <= prefix || prefix > 128) return -1;
  int version = bytes[outer + 3] == 1 ? 4 : bytes[outer + 3] == 2 ? 6 : -1;
  return bytes[prefix] / 16 == version ? static_cast<int64_t>(prefix) : -1;
}

// By flow (of everything else, by nothing) the packets in order, without what may change in them: identifications that
// mean nothing, and the other form of a sum that is 0 (RFC 1071).
std::map<std::string, std::vector<Packet>> byFlow(const std::vector<Offered>& packets, Framing framing) {
  std::map<std::string, std::vector<Packet>> flows;
  for (const Offered& offered : packets) {
    Packet packet = offered.bytes;
    std::string key = "other";
    int64_t inFront = prefixIn(packet, framing);
    if (inFront >= 0 && packet.size() > static_cast<size_t>(inFront)) {
      uint32_t prefix = static_cast<uint32_t>(inFront);
      bool ethernet = framing == Framing::kEtherIp || framing == Framing::kEthernet;
      uint8_t* frame = reinterpret_cast<uint8_t*>(&packet[prefix]);
      uint32_t length = static_cast<uint32_t>(packet.size()) - prefix;
      uint32_t l3 = ethernet ? ethernetHeaderLength(frame, length) : 0;
      Transport found;
      bool ip = !ethernet;
      if (l3 > 0) ip = memcmp(frame + l3 - 2, length > l3 && frame[l3] >> 4 == 4 ? "\x08\x00" : "\x86\xdd", 2) == 0;
      if (ip && found.find(frame, length, l3) &&
          (found.protocol == 6 || found.protocol == 17) && length - found.offset >= (found.protocol == 6 ? 20 : 8)) {
        bool four = found.version == 4;
        if (!found.fragment) {
          key = std::to_string(offered.sender) + '/' + std::to_string(found.protocol) + '/';
          key.append(packet, prefix + l3 + (four ? 12 : 8), four ? 8 : 32);
          key.append(packet, prefix + found.offset, 4);
        }
        if (four && (frame[l3 + 6] & 0x40) != 0) memset(frame + l3 + 4, 0, 2);
        if (four) memset(frame + l3 + 10, 0, 2);
        uint8_t* sum = frame + found.offset + 16;
        if (found.protocol == 6 && sum[0] == 0xff && sum[1] == 0xff) sum[0] = sum[1] = 0;
      }
    }
    flows[key].push_back(packet);
  }
  return flows;
}

}  // namespace

// One byte of framing, one of choices; then packets: two bytes of length, one of sender, the bytes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static Owner owner;
  static Coalescer coalescer(&owner);
  Framing framing = static_cast<Framing>(1 + data[0] % 5);
  owner.mayGrow = (data[1] & 1) != 0;
  owner.items.clear();
  coalescer.begin(framing);
  std::vector<Offered> offered;
  for (size_t at = 2; at + 3 <= size;) {
    size_t length = data[at] | static_cast<size_t>(data[at + 1]) << 8;
    int32_t sender = data[at + 2] & 3;
    at += 3;
    if (length > size - at) length = size - at;
    // Exactly as large as it is said to be, so that the sanitizer sees one byte too many.
    Item item;
    item.length = static_cast<uint32_t>(length);
    item.sender = sender;
    item.memory.reset(new uint8_t[length]);
    memcpy(item.memory.get(), data + at, length);
    offered.push_back({Packet(reinterpret_cast<const char*>(data + at), length), sender});
    at += length;
    if (coalescer.join(item.memory.get(), item.length, sender, 0)) continue;
    uint8_t* bytes = item.memory.get();
    owner.items.push_back(std::move(item));
    coalescer.start(bytes, static_cast<uint32_t>(length), static_cast<int32_t>(owner.items.size() - 1));
  }
  coalescer.finish();

  std::vector<Offered> found;
  for (const Item& item : owner.items) {
    for (const Packet& packet : item.cut) found.push_back({packet, item.sender});
    if (!item.cut.empty()) continue;
    found.push_back({Packet(reinterpret_cast<const char*>(item.memory.get()), item.length), item.sender});
  }
  require(byFlow(found, framing) == byFlow(offered, framing), "each flow's packets come out as they went in");
  return 0;
}

#ifndef LIBFUZZER

namespace {

// NSH with one path of `hop`, in VXLAN-GPE or Geneve with an option; returns its length.
uint32_t putNsh(uint8_t* at, bool geneve, bool six, uint8_t hop) {
  static const uint8_t gpe[] = {0x0c, 0, 0, 4, 0, 0, 42, 0};
  static const uint8_t withOption[] = {1, 0, 0x89, 0x4f, 0, 0, 42, 0, 1, 2, 3, 0};
  uint32_t outer = geneve ? sizeof withOption : sizeof gpe;
  memcpy(at, geneve ? withOption : gpe, outer);
  const uint8_t nsh[] = {0x0f, 0xc4, 2, static_cast<uint8_t>(six ? 2 : 1), 0, 0, 7, 255, 0xff, 0xf6, 2, 4, 0, 0, 0, hop};
  memcpy(at + outer, nsh, sizeof nsh);
  return outer + sizeof nsh;
}

// A train of good packets of one flow, cut from a superframe, each behind its length and sender.
size_t addTrain(uint8_t* out, uint32_t framing, uint8_t flow) {
  static uint8_t whole[9000];
  bool ethernet = framing == 1 || framing == 2;
  bool six = next() & 1;
  bool tcp = next() & 1;
  memset(whole, 0, 200);
  uint8_t* at = whole;
  if (ethernet) {
    at[12] = six ? 0x86 : 0x08;
    at[13] = six ? 0xdd : 0x00;
    at += 14;
  }
  uint32_t l3 = static_cast<uint32_t>(at - whole);
  at[0] = six ? 0x60 : 0x45;
  at[six ? 6 : 9] = tcp ? 6 : 17;
  at[six ? 8 : 12] = flow;
  if (!six && (next() & 1) != 0) at[6] = 0x40;
  at += six ? 40 : 20;
  if (tcp) {
    at[12] = 0x50;
    at[13] = next() % 4 == 0 ? 0x18 : 0x10;
  }
  at += tcp ? 20 : 8;
  uint32_t payload = next() % 3000 + 1;
  for (uint32_t i = 0; i < payload; i++) at[i] = static_cast<uint8_t>(next());
  Superframe frame;
  uint8_t type = tcp ? (six ? kGsoTcp6 : kGsoTcp4) : kGsoUdp;
  if (!frame.parse(whole, static_cast<int64_t>(at - whole) + payload, l3, type, next() % 400 + 20)) abort();
  size_t used = 0;
  uint8_t inFront[64] = {0x30, 0};
  uint32_t prefix = framing == 1 ? 2 : framing >= 3 ? putNsh(inFront, framing == 4, six, flow) : 0;
  const Segmenter segmenter(frame);
  for (uint32_t i = 0; i < frame.segments; i++) {
    uint32_t length = frame.segmentLength(i) + prefix;
    uint8_t* packet = out + used;
    packet[0] = static_cast<uint8_t>(length);
    packet[1] = static_cast<uint8_t>(length >> 8);
    packet[2] = flow & 1;
    memcpy(packet + 3, inFront, prefix);
    // The path changes at times.
    if (framing >= 3 && next() % 16 == 0) packet[2 + prefix] ^= 1;
    segmenter.write(i, packet + 3 + prefix);
    used += 3 + length;
    // Some packet of the middle is lost, or comes later.
    if (next() % 32 == 0) used -= 3 + length;
  }
  return used;
}

void one() {
  static uint8_t input[200000];
  uint32_t framing = next() % 5;
  input[0] = static_cast<uint8_t>(framing);
  input[1] = next() % 4 == 0 ? 0 : 1;
  size_t size = 2;
  for (uint32_t trains = next() % 6 + 1; trains > 0; trains--) {
    size += addTrain(input + size, framing, static_cast<uint8_t>(next() % 3));
  }
  for (uint32_t changes = next() % 4; changes > 0; changes--) {
    input[2 + next() % (size - 1)] = static_cast<uint8_t>(next());
  }
  LLVMFuzzerTestOneInput(input, size);
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long long runs = fuzzFor(argc, argv, one);
  printf("%llu streams, %llu packets merged\n", runs, static_cast<unsigned long long>(merged));
  return merged > 0 ? 0 : 1;
}

#endif
