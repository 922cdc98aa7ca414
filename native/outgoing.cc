#include "outgoing.h"

#include <sys/mman.h>

#include <cstring>

bool Outgoing::prepare() {
  // Untouched pages cost nothing, and mostly few are.
  void* memory = mmap(nullptr, size_t{kBlock} * kBlocks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  arena_ = static_cast<uint8_t*>(memory);
  return true;
}

Outgoing::~Outgoing() {
  if (arena_ != nullptr) munmap(arena_, size_t{kBlock} * kBlocks);
}

bool Outgoing::wasSent(int32_t handle) {
  if (aheadAt_ == aheadCount_) return false;
  const Ahead& next = ahead_[aheadAt_];
  if (next.handle != handle || next.length != pool_->length[handle] || next.arrival != pool_->arrivedAt(handle)) {
    return false;
  }
  aheadAt_++;
  return true;
}

void Outgoing::plan(Pool* pool, const int32_t* batch, int32_t n, Framing framing, uint32_t offloads) {
  pool_ = pool;
  offloads_ = offloads;
  blocks_ = 0;
  aheadAt_ = 0;
  coalescer_.begin(framing);
  for (int32_t i = 0; i < n; i++) {
    int32_t handle = batch[i];
    roles_[i] = Role::kAlone;
    next_[i] = -1;
    tail_[i] = static_cast<int16_t>(i);
    if (!pool->valid(handle)) continue;
    if (wasSent(handle)) {
      roles_[i] = Role::kSent;
      continue;
    }
    uint8_t* bytes = pool->bytes(handle);
    uint32_t length = static_cast<uint32_t>(pool->length[handle]);
    if (pool->segmentSize[handle] > 0 || pool->checksumStart[handle] >= 0) {
      coalescer_.pass(bytes, length, 0);
    } else if (coalescer_.join(bytes, length, 0, 0)) {
      int32_t first = coalescer_.joined();
      roles_[i] = Role::kJoined;
      next_[tail_[first]] = static_cast<int16_t>(i);
      tail_[first] = static_cast<int16_t>(i);
    } else {
      // No room: the first that joins moves it into the arena.
      coalescer_.start(bytes, length, i);
    }
  }
  coalescer_.finish();
  aheadCount_ = aheadAt_ = 0;
}

bool Outgoing::grow(Train* train, uint32_t needed) {
  bool moved = train->bytes >= arena_ && train->bytes < arena_ + size_t{kBlock} * kBlocks;
  if (moved || blocks_ == kBlocks || needed > kBlock || (offloads_ & offloadBit(train->gsoType())) == 0) return false;
  uint8_t* block = arena_ + size_t{kBlock} * static_cast<uint32_t>(blocks_);
  memcpy(block, train->bytes, train->length);
  train->bytes = block;
  train->room = kBlock;
  frameOf_[train->tag] = static_cast<int16_t>(blocks_++);
  return true;
}

void Outgoing::closed(const Train& train) {
  roles_[train.tag] = Role::kFirst;
  Frame& frame = frames_[frameOf_[train.tag]];
  frame.bytes = train.bytes;
  frame.length = train.length;
  frame.segments = train.segments;
  frame.wireBytes = double{1} * train.length + double{1} * train.headers * (train.segments - 1);
  frame.gsoType = train.gsoType();
  frame.virtio = VirtioHeader{};
  frame.virtio.flags = kVirtioNeedsChecksum;
  frame.virtio.gsoType = frame.gsoType;
  frame.virtio.headerLength = static_cast<uint16_t>(train.headers);
  frame.virtio.segmentSize = static_cast<uint16_t>(train.segmentSize);
  frame.virtio.checksumStart = static_cast<uint16_t>(train.l4);
  frame.virtio.checksumOffset = static_cast<uint16_t>(train.checksumOffset());
}

void Outgoing::settle(int32_t first, bool sent) {
  roles_[first] = sent ? Role::kSent : Role::kAlone;
  for (int32_t i = next_[first]; i >= 0; i = next_[i]) roles_[i] = roles_[first];
}

void Outgoing::stopped(const int32_t* batch, int32_t done, int32_t n) {
  for (int32_t i = done; i < n; i++) {
    if (roles_[i] != Role::kSent || !pool_->valid(batch[i])) continue;
    ahead_[aheadCount_++] = {batch[i], pool_->length[batch[i]], pool_->arrivedAt(batch[i])};
  }
}
