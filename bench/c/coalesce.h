// Puts packets of the same flow, as they come out of a tunnel, together into superframes for the TUN.
//
// 1. add:     a TCP packet with data and nothing but ACK or PSH, or a UDP packet, without IP options or fragments, looks for an open
//             item of its flow (a small hash table with room for many flows at once). It is appended when it continues it: TCP the next
//             sequence number with equal acknowledgement, window and options; UDP the last item of the flow; equal ToS, TTL, DF
//             and size. A shorter packet or PSH ends the item. Copy and checksum are one pass: with a bad sum the copy is forgotten.
//             Everything else is an item of its own and passes as it is.
// 2. finish:  headers of superframes get their lengths and open (pseudo-header) checksums. Items leave in the order in which they began.
//
// An item lies where it was received until something is appended; only then it moves to a slot of ours.
#pragma once
#include "packet.h"

enum { ITEMS = 1024, BUCKETS = 256, SLOTS = 64, NONE = 0xffff, FRAME_MAX = 65535, UDP_SEGMENTS_MAX = 64, WALK = 8 };
enum { SLOT_STRIDE = 65536 + 2048 + 64 };  // not a power of two: first lines of slots fall into different cache sets

struct item {
  uint8_t *ip;
  uint32_t length, sequence;   // TCP: of what comes next
  uint16_t l4, header, size;   // where TCP or UDP starts; all headers; payload bytes of each segment
  uint16_t segments, next;     // next item in the bucket
  bool tcp, closed, verified, in_slot;
};

struct coalescer {
  bool tcp, udp;  // what may be merged
  struct item items[ITEMS];
  uint16_t buckets[BUCKETS];
  unsigned count, slots_used;
  uint8_t *slots;
};

static inline void coalesce_reset(struct coalescer *c) {
  c->count = c->slots_used = 0;
  memset(c->buckets, 0xff, sizeof c->buckets);
}

static inline void coalesce_init(struct coalescer *c, bool tcp, bool udp) {
  c->tcp = tcp;
  c->udp = udp;
  c->slots = must_allocate((size_t)SLOTS * SLOT_STRIDE);
  coalesce_reset(c);
}

static inline bool equal(const uint8_t *a, const uint8_t *b, unsigned from, unsigned to) {
  return !memcmp(a + from, b + from, to - from);
}

// Same flow, and headers that one superframe header can stand for.
static inline bool same_headers(const struct item *a, const struct item *b) {
  if (a->tcp != b->tcp || a->header != b->header || a->l4 != b->l4) return false;
  const uint8_t *x = a->ip, *y = b->ip;
  if (a->l4 == 20) {  // ToS; flags; TTL, protocol; addresses
    if (x[1] != y[1] || load16(x + 6) != load16(y + 6) || load16(x + 8) != load16(y + 8) || !equal(x, y, 12, 20)) return false;
  } else {  // traffic class, flow label; next header, hop limit, addresses
    if (!equal(x, y, 0, 4) || !equal(x, y, 6, 40)) return false;
  }
  x += a->l4, y += a->l4;
  if (!equal(x, y, 0, 4)) return false;
  return !a->tcp || (equal(x, y, 8, 13) && equal(x, y, 14, 16) && equal(x, y, 20, a->header - a->l4));
}

// Fills in what the packet is; false if it is nothing that is merged.
static inline bool mergeable(const struct coalescer *c, struct item *p) {
  const uint8_t *ip = p->ip;
  uint8_t protocol;
  if (is_ipv4(ip)) {
    if (ip[0] != 0x45 || (load16(ip + 6) & htons(0x3fff)) || fold(sum_scalar(ip, 20, 0)) != 0xffff) return false;
    p->l4 = 20;
    protocol = ip[9];
  } else {
    p->l4 = 40;
    protocol = ip[6];
  }
  const uint8_t *l4 = ip + p->l4;
  if (protocol == IPPROTO_TCP && c->tcp && p->length > p->l4 + 20u) {
    p->tcp = true;
    p->header = (uint16_t)(p->l4 + (l4[12] >> 4) * 4);
    if (l4[12] >> 4 < 5 || (l4[13] & ~PSH) != ACK) return false;
    p->sequence = get32(l4 + 4);
    p->closed = l4[13] & PSH;
  } else if (protocol == IPPROTO_UDP && c->udp && p->length > p->l4 + 8u) {
    p->header = (uint16_t)(p->l4 + 8);
    if (load16(l4 + UDP_CHECK) == 0 || get16(l4 + 4) != p->length - p->l4) return false;
  } else {
    return false;
  }
  if (p->length <= p->header) return false;
  p->size = (uint16_t)(p->length - p->header);
  return true;
}

// Where the packet can be appended; `head` is the bucket of its flow.
static inline struct item *find_item(struct coalescer *c, uint16_t head, const struct item *p) {
  for (int steps = 0; head != NONE && steps < WALK; head = c->items[head].next, steps++) {
    struct item *item = &c->items[head];
    if (!same_headers(item, p)) continue;
    const bool fits = !item->closed && p->size <= item->size && item->length + p->size <= FRAME_MAX;
    if (!item->tcp) return fits && item->segments < UDP_SEGMENTS_MAX ? item : NULL;  // only the last: order is kept
    if (fits && item->sequence == p->sequence) return item;
  }
  return NULL;
}

static inline bool move_to_slot(struct coalescer *c, struct item *item) {
  if (item->in_slot) return true;
  if (c->slots_used == SLOTS) return false;
  uint8_t *slot = c->slots + (size_t)c->slots_used++ * SLOT_STRIDE;
  memcpy(slot, item->ip, item->length);
  item->ip = slot;
  item->in_slot = true;
  return true;
}

// Takes a well-formed IP packet, which must stay where it is until the items have been written. At most ITEMS fit.
static inline void coalesce_add(struct coalescer *c, uint8_t *ip, uint32_t length) {
  struct item *p = &c->items[c->count];
  *p = (struct item){.ip = ip, .length = length, .segments = 1, .next = NONE};
  if (!mergeable(c, p)) {
    c->count++;
    return;
  }
  const uint8_t *l4 = ip + p->l4;
  const uint32_t hash = (get32(l4) ^ get32(l4 - 4) ^ get32(l4 - (p->l4 == 20 ? 8 : 20))) * 0x9e3779b1u >> 24;
  const uint64_t pseudo = pseudo_sum(ip, p->tcp ? IPPROTO_TCP : IPPROTO_UDP, length - p->l4);
  const uint64_t sum = sum_scalar(l4, p->header - p->l4, pseudo);
  struct item *item = find_item(c, c->buckets[hash], p);
  if (item && move_to_slot(c, item)) {
    if (fold(copy_sum(item->ip + item->length, ip + p->header, p->size, sum)) == 0xffff) {
      item->length += p->size;
      item->sequence += p->size;
      item->segments++;
      item->closed = p->closed || p->size < item->size;
      if (p->closed) item->ip[item->l4 + 13] |= PSH;
      return;
    }
  } else if (fold(sum_bytes(ip + p->header, p->size, sum)) == 0xffff) {
    p->verified = true;
    p->sequence += p->size;
    p->next = c->buckets[hash];
    c->buckets[hash] = (uint16_t)c->count;
  }
  c->count++;
}

// Makes an item ready for the TUN. A single verified packet goes in with an open checksum too: the kernel then does not sum it again.
static inline struct vnet_header coalesce_finish(struct item *item) {
  struct vnet_header vnet = {0};
  if (!item->verified) return vnet;
  uint8_t *ip = item->ip, *l4 = ip + item->l4;
  const uint32_t l4_length = item->length - item->l4;
  vnet.flags = NEEDS_CSUM;
  vnet.csum_start = item->l4;
  vnet.csum_offset = item->tcp ? TCP_CHECK : UDP_CHECK;
  if (item->segments > 1) {
    vnet.gso_type = !item->tcp ? GSO_UDP_L4 : item->l4 == 20 ? GSO_TCPV4 : GSO_TCPV6;
    vnet.gso_size = item->size;
    vnet.hdr_len = item->header;
    if (item->l4 == 20) {
      put16(ip + 2, item->length);
      set_ipv4_checksum(ip);
    } else {
      put16(ip + 4, item->length - 40);
    }
    if (!item->tcp) put16(l4 + 4, l4_length);
  }
  store16(l4 + vnet.csum_offset, fold(pseudo_sum(ip, item->tcp ? IPPROTO_TCP : IPPROTO_UDP, l4_length)));
  return vnet;
}
