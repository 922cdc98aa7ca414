// Batched receiving for sockets: each message lands in a small slot and, where it outgrows that, in a staging buffer
// (or a large slot) behind it. What cannot be handed on at once stays here for the next call: nothing is lost.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

#include "offload.h"
#include "pool.h"

struct Scatter {
  static constexpr int kMessages = 64;
  // Room for the longest message, with the part that lay in the small slot in front.
  static constexpr size_t kStage = kLargeSlot;
  static constexpr size_t kControl = 128;

  mmsghdr messages[kMessages];
  iovec vectors[kMessages][3];
  sockaddr_in6 names[kMessages];
  alignas(8) uint8_t control[kMessages][kControl];
  VirtioHeader headers[kMessages];
  // The raw slots of a message; -1 once its bytes are in the stage, or given away.
  int32_t small[kMessages];
  int32_t large[kMessages];
  uint8_t* staging = nullptr;
  size_t headerBytes = 0;
  // Whether the senders' addresses are asked for.
  bool named = true;

  // Messages [at, count) are still to be handed on.
  int count = 0;
  int at = 0;

  Scatter() = default;
  Scatter(const Scatter&) = delete;
  Scatter& operator=(const Scatter&) = delete;
  ~Scatter();
  bool prepare();

  uint8_t* stage(int i) const { return staging + static_cast<size_t>(i) * kStage; }
  int32_t length(int i) const { return static_cast<int32_t>(messages[i].msg_len - headerBytes); }
  bool waiting() const { return at < count; }

  // One recvmmsg of up to `want` messages, the first of them with a large slot behind the small one while `largeFirst`
  // lasts. Returns how many came, or -errno. The account must have room for one.
  int fill(Pool* pool, int fd, int32_t want, int32_t account, int32_t largeFirst);
  // Moves message i wholly into its stage and frees its slots.
  void stash(Pool* pool, int i);
  void stashRest(Pool* pool);
  void giveBack(Pool* pool, int i);
};
