// Cuts a superframe into the packets it stands for, each with its own numbers, flags and full checksums.
//
// 1. open:  the header is copied once and everything in it that changes from packet to packet is set to zero; its sum is kept.
// 2. next:  per packet: header copy, payload copied and summed in one pass, the changing fields stored and added to the sum.
#pragma once
#include "packet.h"

struct segmenter {
  const uint8_t *payload;
  uint32_t left, size;      // bytes of payload to go, and per packet
  uint32_t header, l4;      // length of all headers, where TCP or UDP starts
  uint32_t sequence;        // TCP: of the next packet
  uint16_t id;              // IPv4: of the next packet
  bool tcp, v4, first;
  uint8_t flags;            // TCP: of the whole frame
  uint64_t ip_sum, l4_sum;  // of the template
  uint8_t template[256];
};

// False for a frame that is not a well-formed TCP or UDP superframe. `hdr_len` of forwarded frames cannot be trusted: it is not used.
static inline bool segment_open(struct segmenter *s, const uint8_t *ip, uint32_t length, const struct vnet_header *vnet) {
  s->l4 = vnet->csum_start;
  s->tcp = vnet->csum_offset == TCP_CHECK;
  s->v4 = is_ipv4(ip);
  s->size = vnet->gso_size;
  if (!(vnet->flags & NEEDS_CSUM) || s->size == 0 || length < s->l4 + 20) return false;
  s->header = s->l4 + (s->tcp ? (ip[s->l4 + 12] >> 4) * 4u : 8u);
  if (s->header >= length || s->header > sizeof s->template) return false;
  if (s->l4 < (s->v4 ? 20 : 40) || s->header < s->l4 + (s->tcp ? 20 : 8)) return false;
  s->payload = ip + s->header;
  s->left = length - s->header;
  s->first = true;
  uint8_t *t = s->template, *l4 = t + s->l4;
  memcpy(t, ip, s->header);
  s->ip_sum = 0;
  if (s->v4) {
    s->id = get16(t + 4);
    store16(t + 2, 0), store16(t + 4, 0), store16(t + 10, 0);
    s->ip_sum = sum_scalar(t, s->l4, 0);
  } else {
    store16(t + 4, 0);
  }
  if (s->tcp) {
    s->sequence = get32(l4 + 4);
    s->flags = l4[13];
    put32(l4 + 4, 0);
    l4[13] = 0;
    store16(l4 + TCP_CHECK, 0);
  } else {
    store16(l4 + 4, 0);
    store16(l4 + UDP_CHECK, 0);
  }
  const uint64_t pseudo = pseudo_sum(t, s->tcp ? IPPROTO_TCP : IPPROTO_UDP, 0);
  s->l4_sum = sum_scalar(l4, s->header - s->l4, pseudo);
  return true;
}

// Writes the next packet and returns its length; 0 at the end.
static inline uint32_t segment_next(struct segmenter *s, uint8_t *out) {
  const uint32_t payload = MIN(s->left, s->size), length = s->header + payload;
  if (payload == 0) return 0;
  s->left -= payload;
  memcpy(out, s->template, s->header);
  uint8_t *l4 = out + s->l4;
  uint64_t sum = copy_sum(out + s->header, s->payload, payload, s->l4_sum);
  s->payload += payload;
  if (s->v4) {
    put16(out + 2, length);
    put16(out + 4, s->id);
    store16(out + 10, (uint16_t)~fold(s->ip_sum + load16(out + 2) + load16(out + 4)));
    s->id++;
  } else {
    put16(out + 4, length - 40);
  }
  const uint16_t l4_length = htons((uint16_t)(length - s->l4));  // in the pseudo-header
  sum = add64(sum, l4_length);
  if (s->tcp) {
    put32(l4 + 4, s->sequence);
    s->sequence += payload;
    uint8_t flags = s->flags;  // CWR belongs to the first packet only, FIN and PSH to the last
    if (!s->first) flags &= (uint8_t)~CWR;
    if (s->left) flags &= (uint8_t) ~(FIN | PSH);
    l4[13] = flags;
    sum = add64(sum, (uint64_t)load16(l4 + 4) + load16(l4 + 6) + htons(flags));
    store16(l4 + TCP_CHECK, (uint16_t)~fold(sum));
  } else {
    store16(l4 + 4, l4_length);
    sum = add64(sum, l4_length);
    const uint16_t check = (uint16_t)~fold(sum);
    store16(l4 + UDP_CHECK, check ? check : 0xffff);  // 0 would say that there is no checksum (RFC 768)
  }
  s->first = false;
  return length;
}
