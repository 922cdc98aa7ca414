// Where things are in an IP packet, the header that the kernel puts before a superframe, and pseudo-header sums.
#pragma once
#include "common.h"
#include "checksum.h"

// struct virtio_net_hdr_mrg_rxbuf; linux/virtio_net.h of Debian 12 does not know USO yet.
struct vnet_header {
  uint8_t flags, gso_type;
  uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct vnet_header) == 12, "12 bytes on the wire");
enum { NEEDS_CSUM = 1, GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };

enum { FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10, CWR = 0x80 };
enum { TCP_CHECK = 16, UDP_CHECK = 6 };

static inline uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t get32(const uint8_t *at) {
  uint32_t word;
  memcpy(&word, at, 4);
  return ntohl(word);
}
static inline void put16(uint8_t *at, uint32_t value) {
  const uint16_t word = htons((uint16_t)value);
  memcpy(at, &word, 2);
}
static inline void put32(uint8_t *at, uint32_t value) {
  const uint32_t word = htonl(value);
  memcpy(at, &word, 4);
}
static inline uint16_t load16(const uint8_t *at) {  // as it lies, for sums
  uint16_t word;
  memcpy(&word, at, 2);
  return word;
}
static inline void store16(uint8_t *at, uint16_t word) { memcpy(at, &word, 2); }

static inline bool is_ipv4(const uint8_t *ip) { return ip[0] >> 4 == 4; }
static inline const uint8_t *source_address(const uint8_t *ip) { return ip + (is_ipv4(ip) ? 12 : 8); }
static inline const uint8_t *destination_address(const uint8_t *ip) { return ip + (is_ipv4(ip) ? 16 : 24); }
static inline unsigned address_length(const uint8_t *ip) { return is_ipv4(ip) ? 4 : 16; }

// Both addresses, the protocol and the length of what follows (RFC 9293 3.1, RFC 8200 8.1), not folded.
static inline uint64_t pseudo_sum(const uint8_t *ip, uint8_t protocol, uint32_t length) {
  const uint64_t sum = (uint64_t)htons(protocol) + htons((uint16_t)(length >> 16)) + htons((uint16_t)length);
  return is_ipv4(ip) ? sum_scalar(ip + 12, 8, sum) : sum_scalar(ip + 8, 32, sum);
}

static inline void set_ipv4_checksum(uint8_t *ip) {
  store16(ip + 10, 0);
  store16(ip + 10, (uint16_t)~fold(sum_scalar(ip, (ip[0] & 15) * 4u, 0)));
}
