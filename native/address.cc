#include "address.h"

#include <arpa/inet.h>
#include <sys/random.h>

#include <cstdio>
#include <cstring>

namespace {

constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

void scopeToBytes(uint32_t scope, uint8_t* out) {
  for (int i = 0; i < 4; i++) out[i] = static_cast<uint8_t>(scope >> (8 * i));
}

uint32_t scopeFromBytes(const uint8_t* bytes) {
  return bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
}

}  // namespace

AddressKey AddressKey::fromRow(const uint8_t* row) {
  AddressKey key;
  key.bytes[0] = row[0];
  memcpy(key.bytes + 2, row + 2, 2);
  memcpy(key.bytes + 4, row + 4, row[0] == 4 ? 4 : 20);
  return key;
}

AddressKey AddressKey::fromSocket(const sockaddr_in6& name) {
  AddressKey key;
  if (name.sin6_family == AF_INET) {
    const sockaddr_in& four = reinterpret_cast<const sockaddr_in&>(name);
    key.bytes[0] = 4;
    memcpy(key.bytes + 2, &four.sin_port, 2);
    memcpy(key.bytes + 4, &four.sin_addr, 4);
    return key;
  }
  memcpy(key.bytes + 2, &name.sin6_port, 2);
  const uint8_t* address = name.sin6_addr.s6_addr;
  if (memcmp(address, kMapped, sizeof kMapped) == 0) {
    key.bytes[0] = 4;
    memcpy(key.bytes + 4, address + 12, 4);
    return key;
  }
  key.bytes[0] = 6;
  memcpy(key.bytes + 4, address, 16);
  scopeToBytes(name.sin6_scope_id, key.bytes + 20);
  return key;
}

bool AddressKey::operator==(const AddressKey& other) const { return memcmp(bytes, other.bytes, sizeof bytes) == 0; }

bool AddressKey::isSameHost(const AddressKey& other) const {
  return bytes[0] == other.bytes[0] && memcmp(bytes + 4, other.bytes + 4, sizeof bytes - 4) == 0;
}

void AddressKey::toRow(uint8_t* row) const {
  memcpy(row, bytes, sizeof bytes);
  memset(row + sizeof bytes, 0, kAddressRow - sizeof bytes);
}

socklen_t addressToSocket(const uint8_t* row, int family, sockaddr_in6* name) {
  if (row[0] == 4 && family == 6) {
    memset(name, 0, sizeof *name);
    name->sin6_family = AF_INET6;
    memcpy(&name->sin6_port, row + 2, 2);
    memcpy(name->sin6_addr.s6_addr, kMapped, sizeof kMapped);
    memcpy(name->sin6_addr.s6_addr + 12, row + 4, 4);
    return sizeof *name;
  }
  if (row[0] != family) return 0;
  uint16_t port;
  memcpy(&port, row + 2, 2);
  return makeSocketAddress(family, row + 4, ntohs(port), scopeFromBytes(row + 20), name);
}

socklen_t makeSocketAddress(int family, const uint8_t* address, uint16_t port, uint32_t scope, sockaddr_in6* name) {
  memset(name, 0, sizeof *name);
  if (family == 4) {
    sockaddr_in* four = reinterpret_cast<sockaddr_in*>(name);
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    memcpy(&four->sin_addr, address, 4);
    return sizeof *four;
  }
  name->sin6_family = AF_INET6;
  name->sin6_port = htons(port);
  name->sin6_scope_id = scope;
  memcpy(name->sin6_addr.s6_addr, address, 16);
  return sizeof *name;
}

uint16_t portOf(const sockaddr_in6& name) {
  // sin_port and sin6_port lie in the same place.
  return ntohs(name.sin6_port);
}

void describeAddress(const sockaddr_in6& name, char* out, size_t capacity) {
  char text[INET6_ADDRSTRLEN] = "";
  if (name.sin6_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(name).sin_addr, text, sizeof text);
    snprintf(out, capacity, "%s:%u", text, portOf(name));
    return;
  }
  inet_ntop(AF_INET6, &name.sin6_addr, text, sizeof text);
  if (name.sin6_scope_id != 0) {
    snprintf(out, capacity, "[%s%%%u]:%u", text, name.sin6_scope_id, portOf(name));
  } else {
    snprintf(out, capacity, "[%s]:%u", text, portOf(name));
  }
}

void AddressIndex::reset(int32_t rows) {
  size_t buckets = 16;
  while (buckets < 2 * static_cast<size_t>(rows)) buckets *= 2;
  buckets_.assign(buckets, -1);
  keys_.assign(static_cast<size_t>(rows), AddressKey());
  pinned_.assign(static_cast<size_t>(rows), false);
  mask_ = buckets - 1;
  if (getrandom(&secret_, sizeof secret_, 0) != sizeof secret_) secret_ = reinterpret_cast<uintptr_t>(this);
}

size_t AddressIndex::home(const AddressKey& key) const {
  uint64_t hash = secret_;
  for (size_t i = 0; i < sizeof key.bytes; i += 8) {
    uint64_t word;
    memcpy(&word, key.bytes + i, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return hash & mask_;
}

int32_t AddressIndex::find(const AddressKey& key) const {
  for (size_t at = home(key); buckets_[at] >= 0; at = (at + 1) & mask_) {
    if (keys_[static_cast<size_t>(buckets_[at])] == key) return buckets_[at];
  }
  return -1;
}

void AddressIndex::pin(int32_t row, const AddressKey& key) {
  unpin(row);
  int32_t holder = find(key);
  if (holder >= 0) unpin(holder);
  keys_[static_cast<size_t>(row)] = key;
  pinned_[static_cast<size_t>(row)] = true;
  size_t at = home(key);
  while (buckets_[at] >= 0) at = (at + 1) & mask_;
  buckets_[at] = row;
}

void AddressIndex::unpin(int32_t row) {
  if (!pinned_[static_cast<size_t>(row)]) return;
  pinned_[static_cast<size_t>(row)] = false;
  size_t hole = home(keys_[static_cast<size_t>(row)]);
  while (buckets_[hole] != row) hole = (hole + 1) & mask_;
  // Close the gap, so that a search may still stop at the first empty bucket.
  for (size_t at = (hole + 1) & mask_; buckets_[at] >= 0; at = (at + 1) & mask_) {
    size_t wanted = home(keys_[static_cast<size_t>(buckets_[at])]);
    if (((at - wanted) & mask_) >= ((at - hole) & mask_)) {
      buckets_[hole] = buckets_[at];
      hole = at;
    }
  }
  buckets_[hole] = -1;
}
