// Superframes that grow in the slots of a pool: a coalescer over packets that have handles.
#pragma once

#include "coalesce.h"
#include "pool.h"

// By number, as JavaScript has it (Coalesce in src/native/binding.ts).
bool framingOf(int32_t number, Framing* framing);

class Merger final : public TrainOwner {
 public:
  Merger() : coalescer_(this) {}

  // Packets that came from one receive call, or belong to one batch.
  void begin(Pool* pool, Framing framing) {
    pool_ = pool;
    superframes = 0;
    coalescer_.begin(framing);
  }
  bool join(const uint8_t* bytes, uint32_t length, int32_t sender, uint8_t trafficClass) {
    return coalescer_.join(bytes, length, sender, trafficClass);
  }
  void pass(const uint8_t* frame, uint32_t length, int32_t sender) { coalescer_.pass(frame, length, sender); }
  // The packet that was refused last has this handle, of a slot that is its own. Its offset is where it was received.
  void start(int32_t handle);
  void finish() { coalescer_.finish(); }

  int32_t superframes = 0;

 private:
  bool grow(Train* train, uint32_t needed) override;
  void closed(const Train& train) override;

  Pool* pool_ = nullptr;
  Coalescer coalescer_;
};
