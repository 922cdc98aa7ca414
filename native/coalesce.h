// Merging wire packets of one flow into superframes: the reverse of Segmenter::write. Nothing here knows of JavaScript
// or of pools, so that the fuzzer can drive it alone (native/fuzz).
//
// What is merged, when cut again, gives the packets that went in, byte by byte (docs/decisions/009 for the one exception).
// So a packet joins a superframe only if
//   - it is TCP or UDP directly behind an IPv4 header of 20 bytes or an IPv6 header, whole, with nothing behind it;
//   - its IP and transport checksums are right (those of a packet with a wrong one are nobody's business here);
//   - everything in its headers that segmentation does not write is the superframe's: link layer, DS field, TTL, DF,
//     flow label, TCP acknowledgement, window, options, and no flags but ACK and PSH;
//   - what is in front of all that is, byte by byte, the superframe's: its prefix, which every segment gets again;
//   - it comes next: its sequence number (TCP) and its IPv4 identification are what segmentation would give it;
//   - it is as long as the first one, or shorter, which makes it the last. PSH makes it the last too.
// A packet that does not join ends its flow's superframe, and may begin the next one: a flow's packets never change
// places. That is also why nothing is prepended: a packet that belongs in front of those already there came late, and is
// handed on as late as it came.
#pragma once

#include <cstdint>

// What stands in front of the IP header of the bytes that are offered: nothing; an EtherIP header (RFC 3378) and an
// Ethernet header; an Ethernet header; NSH (RFC 8300) in VXLAN-GPE or in Geneve (RFC 8926).
enum class Framing : uint8_t { kNone, kIp, kEtherIp, kEthernet, kGpe, kGeneve };

// Longer ones are not merged: copies and segments have no room for them. kHeadroom of pool.h.
constexpr uint32_t kMaxPrefix = 128;

// A superframe while it grows; of one packet until another joins.
struct Train {
  uint8_t* bytes;  // the first packet, behind its prefix, and then the payload of the others
  uint32_t prefix;  // bytes in front of them: EtherIP, or NSH and what carries it
  uint32_t room;   // bytes that fit there
  int32_t tag;     // its owner's name for it
  uint32_t length;
  uint32_t l3;
  uint32_t l4;
  uint32_t headers;
  uint32_t segmentSize;
  uint32_t segments;
  // Host-order sums, known from the second packet on.
  uint64_t pseudo;          // of the pseudo header without its length
  uint64_t ipCommon;        // of the IPv4 header without length, identification and checksum
  uint64_t transportCommon;  // of pseudo and transport header without lengths, sequence number, flags and checksum
  uint32_t sequence;  // of the next packet
  uint16_t id;        // of the first packet
  uint16_t idStep;    // known from the second on
  int32_t sender;
  uint8_t trafficClass;
  bool ipv6;
  bool tcp;
  bool open;
  bool push;
  uint8_t gsoType() const;
  uint32_t checksumOffset() const { return tcp ? 16 : 6; }
};

struct TrainOwner {
  virtual ~TrainOwner() {}
  // Moves the train's bytes to where `needed` fit. False when there is no such place: nothing more joins it then.
  virtual bool grow(Train* train, uint32_t needed) = 0;
  // A train of at least two packets is complete: its headers describe all of it, its transport checksum is open.
  virtual void closed(const Train& train) = 0;
};

class Coalescer {
 public:
  explicit Coalescer(TrainOwner* owner) : owner_(owner) {}

  // Forgets all trains; `finish` must have been called.
  void begin(Framing framing);
  // Appends a packet to its flow's train; then its bytes are not needed any more. Otherwise the packet is to be handed on
  // behind all that were offered before. Packets of different senders or outer DS fields are never merged.
  bool join(const uint8_t* bytes, uint32_t length, int32_t sender, uint8_t trafficClass);
  // The tag of the train that the last packet joined.
  int32_t joined() const { return last_->tag; }
  // A frame (behind any prefix) that is handed on as it is, though it may look like one that could join.
  void pass(const uint8_t* frame, uint32_t length, int32_t sender);
  // The packet that `join` has just refused now lies at `bytes`: it may be the first of a train.
  void start(uint8_t* bytes, uint32_t room, int32_t tag);
  // Closes all trains.
  void finish();

 private:
  // The packet offered last, as far as its headers were looked at.
  struct Candidate {
    uint32_t prefix;
    uint32_t length;
    uint32_t l3;
    uint32_t l4;
    uint32_t headers;
    uint64_t hash;
    int32_t sender;
    uint8_t trafficClass;
    bool ipv6;
    bool tcp;
    bool keyed;      // it belongs to a flow
    bool fragment;   // of TCP or UDP: of which flow is not known
    bool mergeable;  // it may begin a train
  };
  static constexpr uint32_t kTrains = 256;
  static constexpr uint32_t kProbes = 8;

  void read(const uint8_t* frame, uint32_t length);
  bool readTransport(const uint8_t* frame, uint32_t length);
  bool sameFlow(const Train& train, const uint8_t* frame) const;
  Train* find(const uint8_t* frame);
  Train* look(const uint8_t* frame, uint32_t length, int32_t sender);
  bool append(Train* train, const uint8_t* frame, uint32_t length);
  void close(Train* train);
  void closeSender(int32_t sender);

  TrainOwner* owner_;
  Framing framing_ = Framing::kNone;
  Candidate candidate_{};
  Train* last_ = nullptr;
  uint32_t found_ = kTrains;  // where the candidate's flow has its place; kTrains when it has none yet
  uint32_t generation_ = 0;
  uint32_t usedCount_ = 0;
  uint16_t used_[kTrains];
  uint32_t generations_[kTrains] = {};
  uint64_t hashes_[kTrains];
  Train trains_[kTrains];
};
