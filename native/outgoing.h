// Wire packets of one batch that can be written as one superframe, for ports whose kernel takes them: a write costs 1.3 us
// however much is in it.
//
// Frames are put together in an arena: copying a superframe costs 7 % less than an iovec for each part of it, and the
// packets stay as they are for when the kernel refuses the whole.
#pragma once

#include <cstdint>

#include "coalesce.h"
#include "offload.h"
#include "pool.h"

class Outgoing final : public TrainOwner {
 public:
  static constexpr int32_t kMost = 256;

  enum class Role : uint8_t {
    kAlone,   // is written by itself
    kFirst,   // stands for a frame
    kJoined,  // is part of an earlier one's frame
    kSent,    // is out already
  };
  struct Frame {
    const uint8_t* bytes;
    uint32_t length;
    uint32_t segments;
    double wireBytes;
    uint8_t gsoType;
    VirtioHeader virtio;
  };

  Outgoing() : coalescer_(this) {}
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;
  ~Outgoing() override;
  bool prepare();

  // Finds out which of batch[0..n) are written together. `offloads` are the bits of superframes that may be written.
  void plan(Pool* pool, const int32_t* batch, int32_t n, Framing framing, uint32_t offloads);
  bool planned(int32_t n) const { return n > 1 || aheadCount_ > 0; }
  Role role(int32_t at) const { return roles_[at]; }
  const Frame& frameAt(int32_t first) const { return frames_[frameOf_[first]]; }
  // The frame that `first` stands for is out, or was refused and its packets are on their own again.
  void settle(int32_t first, bool sent);
  // The kernel had no room from batch[done] on: what lies behind and is out already is remembered for the next call.
  void stopped(const int32_t* batch, int32_t done, int32_t n);

 private:
  static constexpr uint32_t kBlock = 0xffff + 64;
  static constexpr int32_t kBlocks = 32;
  struct Ahead {
    int32_t handle;
    int32_t length;
    double arrival;
  };

  bool grow(Train* train, uint32_t needed) override;
  void closed(const Train& train) override;
  bool wasSent(int32_t handle);

  Coalescer coalescer_;
  Pool* pool_ = nullptr;
  uint32_t offloads_ = 0;
  uint8_t* arena_ = nullptr;
  int32_t blocks_ = 0;
  Role roles_[kMost];
  int16_t next_[kMost];
  int16_t tail_[kMost];
  int16_t frameOf_[kMost];
  Frame frames_[kBlocks];
  Ahead ahead_[kMost];
  int32_t aheadCount_ = 0;
  int32_t aheadAt_ = 0;
};
