// Addresses of a UDP port's peers as rows of an AddressTable (src/native/binding.ts): family, 0, port (big endian),
// 16 bytes of address, 4 of scope (little endian), 8 spare.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <vector>

constexpr size_t kAddressRow = 32;

// The bytes of a row that make it different from others; unused ones are zero.
struct AddressKey {
  uint8_t bytes[24] = {};

  static AddressKey fromRow(const uint8_t* row);
  // IPv4 addresses mapped into IPv6 become IPv4.
  static AddressKey fromSocket(const sockaddr_in6& name);
  bool operator==(const AddressKey& other) const;
  // Whatever the port.
  bool isSameHost(const AddressKey& other) const;
  void toRow(uint8_t* row) const;
};

// For sending on a socket of `family` (4 or 6). Returns the length, or 0 when the row is no address it can reach.
socklen_t addressToSocket(const uint8_t* row, int family, sockaddr_in6* name);

// Fills a sockaddr from the bytes of UdpOptions or TcpOptions.
socklen_t makeSocketAddress(int family, const uint8_t* address, uint16_t port, uint32_t scope, sockaddr_in6* name);
uint16_t portOf(const sockaddr_in6& name);
// "10.0.0.1:53" or "[fe80::1%2]:53", for error messages.
void describeAddress(const sockaddr_in6& name, char* out, size_t capacity);

// Which pinned row an address has. Open addressing with linear probing, at most half full, keyed with a secret so
// that peers cannot aim at one bucket.
class AddressIndex {
 public:
  void reset(int32_t rows);
  int32_t find(const AddressKey& key) const;
  void pin(int32_t row, const AddressKey& key);
  void unpin(int32_t row);

 private:
  size_t home(const AddressKey& key) const;
  std::vector<int32_t> buckets_;  // row or -1
  std::vector<AddressKey> keys_;  // by row, as pinned
  std::vector<bool> pinned_;
  size_t mask_ = 0;
  uint64_t secret_ = 0;
};
