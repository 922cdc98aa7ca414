#include "scatter.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

bool Scatter::prepare() {
  // Untouched pages cost nothing: most messages never leave their small slot.
  void* memory = mmap(nullptr, kMessages * kStage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  staging = static_cast<uint8_t*>(memory);
  return true;
}

Scatter::~Scatter() {
  if (staging != nullptr) munmap(staging, kMessages * kStage);
}

int Scatter::fill(Pool* pool, int fd, int32_t want, int32_t account, int32_t largeFirst) {
  int32_t slots = std::min({want, int32_t{kMessages}, pool->roomSmall(account)});
  int32_t larges = std::min(largeFirst, pool->roomLarge(account));
  int n = 0;
  for (; n < slots; n++) {
    small[n] = pool->takeSmall();
    if (small[n] < 0) break;
    large[n] = n < larges ? pool->takeLarge() : -1;
    uint8_t* rest = large[n] >= 0 ? pool->packetArea(large[n]) : stage(n);
    size_t restLength = (large[n] >= 0 ? size_t{kLargeRoom} : kStage) - kSmallRoom;
    vectors[n][0] = {&headers[n], headerBytes};
    vectors[n][1] = {pool->packetArea(small[n]), size_t{kSmallRoom}};
    vectors[n][2] = {rest + kSmallRoom, restLength};
    msghdr& message = messages[n].msg_hdr;
    message.msg_name = named ? &names[n] : nullptr;
    message.msg_namelen = named ? sizeof names[n] : 0;
    message.msg_iov = headerBytes > 0 ? vectors[n] : vectors[n] + 1;
    message.msg_iovlen = headerBytes > 0 ? 3 : 2;
    message.msg_control = control[n];
    message.msg_controllen = kControl;
    message.msg_flags = 0;
    messages[n].msg_len = 0;
  }
  int got = n > 0 ? recvmmsg(fd, messages, static_cast<unsigned>(n), MSG_DONTWAIT, nullptr) : 0;
  int error = errno;
  at = 0;
  count = got > 0 ? got : 0;
  // The last taken goes back first: the stacks stay as warm as they were.
  for (int i = n; i > count; i--) giveBack(pool, i - 1);
  if (n == 0) return -ENOBUFS;
  return got < 0 ? -error : got;
}

void Scatter::giveBack(Pool* pool, int i) {
  if (large[i] >= 0) pool->giveBack(large[i]);
  if (small[i] >= 0) pool->giveBack(small[i]);
  large[i] = -1;
  small[i] = -1;
}

void Scatter::stash(Pool* pool, int i) {
  if (small[i] < 0) return;
  size_t size = static_cast<size_t>(std::max(length(i), 0));
  size_t front = std::min(size, size_t{kSmallRoom});
  memcpy(stage(i), pool->packetArea(small[i]), front);
  if (large[i] >= 0 && size > front) {
    memcpy(stage(i) + front, pool->packetArea(large[i]) + front, size - front);
  }
  giveBack(pool, i);
}

void Scatter::stashRest(Pool* pool) {
  for (int i = at; i < count; i++) stash(pool, i);
}
