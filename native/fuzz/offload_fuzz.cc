// Throws bytes at the parsers that meet what other machines sent: virtio headers, Ethernet, IP and transport headers.
// Whatever they accept must come out right: every segment checksummed, and all payload there once.
//
// Built by scripts/fuzz-native.mjs: with clang as a libFuzzer target, else with g++ and the driver at the end.
#include <cstring>
#include <memory>

#include "../offload.h"
#include "driver.h"

namespace {

uint64_t accepted = 0;

uint16_t at16(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }

void checkSegment(const Superframe& frame, uint32_t index, const uint8_t* packet, uint32_t length) {
  require(length == frame.segmentLength(index), "a segment is as long as it was said to be");
  const uint8_t* ip = packet + frame.l3;
  uint32_t transport = length - frame.l4;
  uint64_t pseudo = transport + (frame.tcp ? 6u : 17u);
  if (frame.ipv6) {
    require(at16(ip + 4) == length - frame.l3 - 40, "the payload length is right");
    require(frame.destination + 16 <= frame.l4, "the destination lies in the headers");
    pseudo += uint64_t{checksumScalar(ip + 8, 16, 0)} + checksumScalar(packet + frame.destination, 16, 0);
  } else {
    require(at16(ip + 2) == length - frame.l3, "the total length is right");
    require(checksumScalar(ip, frame.l4 - frame.l3, 0) == 0xffff, "the IP checksum is right");
    pseudo += checksumScalar(ip + 12, 8, 0);
  }
  require(checksumScalar(packet + frame.l4, transport, pseudo) == 0xffff, "the transport checksum is right");
  require(memcmp(packet + frame.headers, frame.bytes + frame.headers + uint64_t{index} * frame.segmentSize,
                 length - frame.headers) == 0,
          "the payload is the superframe's");
}

// Returns the bytes that its segments have on the wire.
double cut(const Superframe& frame) {
  uint64_t payload = 0;
  double wire = 0;
  const Segmenter segmenter(frame);
  for (uint32_t i = 0; i < frame.segments; i++) {
    // Exactly as large as it may need, so that the sanitizer sees one byte too many.
    std::unique_ptr<uint8_t[]> out(new uint8_t[frame.segmentLength(i)]);
    uint32_t size = segmenter.write(i, out.get());
    checkSegment(frame, i, out.get(), size);
    payload += size - frame.headers;
    wire += size;
  }
  require(payload == frame.payload, "all payload is there once");
  return wire;
}

void cutReceived(const uint8_t* bytes, uint32_t length, const FrameInfo& info) {
  Superframe frame;
  require(frame.parse(bytes, length, info.l3Offset, info.gsoType, info.segmentSize), "what was taken in can be cut");
  require(frame.segments == static_cast<uint32_t>(info.segments), "as many segments as were counted");
  require(cut(frame) == info.wireBytes, "the bytes on the wire are those that were counted");
  accepted++;
}

// Each form of sum over a part of the bytes, alone and copied to another alignment, into memory of exactly that size.
void checkSums(const uint8_t* bytes, uint32_t length, uint8_t choice) {
  uint32_t skip = choice % 64 < length ? choice % 64 : length;
  uint32_t shift = choice / 4;
  uint16_t right = checksumScalar(bytes + skip, length - skip, 0);
  std::unique_ptr<uint8_t[]> copy(new uint8_t[shift + length - skip]);
  for (const SumForm* form = sumForms; form->name != nullptr; form++) {
    uint16_t sum = foldSum(form->sum(bytes + skip, length - skip));
    require(swapToNetwork(sum) == right, "all sums are equal");
    memset(copy.get(), choice, shift + length - skip);
    sum = foldSum(form->copy(copy.get() + shift, bytes + skip, length - skip));
    require(swapToNetwork(sum) == right, "a sum while copying is the sum");
    require(memcmp(copy.get() + shift, bytes + skip, length - skip) == 0, "what is summed is copied");
    for (uint32_t i = 0; i < shift; i++) require(copy[i] == choice, "nothing in front is written");
  }
  require(checksum(bytes, length, choice) == checksumScalar(bytes, length, choice), "a start is added");
}

}  // namespace

// One byte of choices, 12 of virtio header, the frame.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 13 || size > 70000) return 0;
  uint8_t choice = data[0];
  VirtioHeader header;
  memcpy(&header, data + 1, sizeof header);
  uint32_t length = static_cast<uint32_t>(size - 13);
  std::unique_ptr<uint8_t[]> frame(new uint8_t[length]);
  memcpy(frame.get(), data + 13, length);

  checkSums(frame.get(), length, choice);
  FrameInfo info;
  if (info.read(header, frame.get(), length, choice & 1 ? 2 : 3)) {
    require(info.segments >= 1, "a frame is at least one packet");
    if (info.segmentSize > 0) cutReceived(frame.get(), length, info);
    if (info.checksumStart >= 0) {
      require(completeChecksum(frame.get(), length, static_cast<uint32_t>(info.checksumStart),
                               static_cast<uint32_t>(info.checksumOffset)),
              "a checksum that was taken in can be completed");
    }
  }
  // What JavaScript may have written into the columns goes through the same functions.
  Transport transport;
  if (transport.find(frame.get(), length, choice)) require(transport.offset <= length, "the transport header is inside");
  Superframe any;
  if (any.parse(frame.get(), length, choice, header.gsoType, header.segmentSize)) cut(any);
  completeChecksum(frame.get(), length, header.checksumStart, header.checksumOffset);
  return 0;
}

#ifndef LIBFUZZER

namespace {

// A good input to start from: a superframe of one of the kinds there are.
size_t seedInput(uint8_t* out) {
  bool ethernet = next() & 1;
  bool six = next() & 1;
  bool tcp = next() & 1;
  uint8_t* at = out + 13;
  memset(out, 0, 200);
  out[0] = ethernet ? 1 : 0;
  if (ethernet) {
    at[12] = six ? 0x86 : 0x08;
    at[13] = six ? 0xdd : 0x00;
    at += 14;
  }
  uint8_t* ip = at;
  ip[0] = six ? 0x60 : 0x45;
  ip[six ? 6 : 9] = tcp ? 6 : 17;
  at += six ? 40 : 20;
  uint8_t* transport = at;
  if (tcp) transport[12] = 0x50;
  at += tcp ? 20 : 8;
  size_t payload = next() % (next() % 8 == 0 ? 60000 : 3000) + 1;
  for (size_t i = 0; i < payload; i++) at[i] = static_cast<uint8_t>(next());
  VirtioHeader header{};
  header.flags = kVirtioNeedsChecksum;
  header.gsoType = tcp ? (six ? kGsoTcp6 : kGsoTcp4) : kGsoUdp;
  header.segmentSize = static_cast<uint16_t>(next() % 1500 + 1);
  header.checksumStart = static_cast<uint16_t>(transport - (out + 13));
  header.checksumOffset = tcp ? 16 : 6;
  memcpy(out + 1, &header, sizeof header);
  return static_cast<size_t>(at - out) + payload;
}

void one() {
  static uint8_t input[70000];
  size_t size = seedInput(input);
  // Most changes hit the headers; some inputs stay good, some are cut short.
  for (uint32_t changes = next() % 4; changes > 0; changes--) {
    size_t reach = next() % 4 == 0 ? size : (size < 96 ? size : 96);
    input[next() % reach] = static_cast<uint8_t>(next());
  }
  if (next() % 8 == 0) size = next() % (size + 1);
  LLVMFuzzerTestOneInput(input, size);
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long long runs = fuzzFor(argc, argv, one);
  printf("%llu inputs, %llu superframes accepted and cut\n", runs, static_cast<unsigned long long>(accepted));
  return accepted > 0 ? 0 : 1;
}

#endif
