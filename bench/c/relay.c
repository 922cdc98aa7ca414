// A hop of a service chain whose function passes everything on: the twin of ours in C. What it checks and changes is what
// docs/chain/wire.md asks of a hop (VXLAN-GPE and IPv4 outside only).
//
//   1. recvmmsg with UDP_GRO: a message is a train of datagrams of one size and one sender
//   2. each datagram's prefix is checked and takes one step on, where it lies
//   3. neighbours with the same next stop and size leave together, as one UDP_SEGMENT send; sendmmsg for all of a batch
//
// Good because it needs not know what is behind the prefix: a train is not put together to a superframe and not cut again, no
// checksum is read, and no byte is copied but by the kernel. One thread, asleep in epoll when there is nothing to do.
#include "packet.h"

#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static const char USAGE[] = "LOCAL:PORT TENANT ID --member ID=ADDR:PORT ... --chain SPI:REVISION:FUNCTIONS ...";

enum {
  MESSAGES = 16,              // per recvmmsg
  STRIDE = 65536 + 1024 + 64,
  SENDS = 256,                // per sendmmsg
  SEND_SEGMENTS = 64,
  IDS = 65536,
  CHAINS = 64,
  SENDERS = 256,
};
enum { GPE = 8, PROBE = 0x20, FLOW = 1, PATH = 2, CLASS = 0xfff6, CHOOSE = 0, FIRST_INDEX = 255, RETURN = 0x800000 };

struct chain {
  uint32_t spi, revision, functions;
};

struct relay {
  int udp;
  uint32_t tenant, own;
  struct endpoint *members[IDS];  // by replica id
  uint64_t senders[SENDERS];      // addresses and ports of members, open addressing; 0 is nobody
  struct chain chains[CHAINS];
  unsigned chain_count;
  uint64_t datagrams, receives, sends, probes, dropped;
};

static uint64_t sender_key(const struct endpoint *from) {
  return (uint64_t)from->v4.sin_addr.s_addr << 16 | from->v4.sin_port;
}

static uint64_t *find_sender(struct relay *r, uint64_t key) {
  unsigned slot = (unsigned)(key * 0x9e3779b97f4a7c15u >> 56);
  while (r->senders[slot] && r->senders[slot] != key) slot = (slot + 1) % SENDERS;
  return &r->senders[slot];
}

static const struct chain *find_chain(const struct relay *r, uint32_t spi, uint32_t revision) {
  for (unsigned i = 0; i < r->chain_count; i++)
    if (r->chains[i].spi == spi && r->chains[i].revision == revision) return &r->chains[i];
  return NULL;
}

// The value of a TLV of our class, its length in `length`; NULL without one, or where one runs over the header.
static uint8_t *find_tlv(uint8_t *at, const uint8_t *end, uint8_t type, uint32_t *length) {
  while (at + 4 <= end) {
    *length = at[3] & 0x7f;
    uint8_t *value = at + 4;
    if (value + *length > end) return NULL;
    if (get16(at) == CLASS && at[2] == type) return value;
    at = value + ((*length + 3) & ~3u);
  }
  return NULL;
}

enum verdict { DROP, FORWARD, ANSWER };

// Takes a datagram one step on. FORWARD: `next` is where to.
static enum verdict step(struct relay *r, uint8_t *gpe, uint32_t length, bool known, const struct endpoint **next) {
  if (length < GPE + 8 || (gpe[0] & 0x3c) != 0x0c || gpe[3] != 4 || get32(gpe + 4) >> 8 != r->tenant) return DROP;
  uint8_t *nsh = gpe + GPE;
  const uint32_t words = nsh[1] & 0x3f;
  if (nsh[0] >> 6 || (nsh[2] & 0x0f) != 2 || words < 2 || GPE + words * 4 > length) return DROP;
  const bool probe = nsh[0] & PROBE;
  if (probe ? nsh[3] != 0 : nsh[3] != 1 && nsh[3] != 2) return DROP;
  uint32_t ttl = get16(nsh) >> 6 & 0x3f, flow_length, path_length;
  const uint8_t *end = nsh + words * 4;
  uint8_t *flow = find_tlv(nsh + 8, end, FLOW, &flow_length), *path = find_tlv(nsh + 8, end, PATH, &path_length);
  if (!flow || flow_length != 8) return DROP;
  if (probe) {  // whether this replica lives; a path that is followed is not answered here
    if (path || ttl != 63) return DROP;
    put16(nsh, (get16(nsh) & 0xf03fu) | 62 << 6);
    return ANSWER;
  }
  if (!known || !path || path_length < 10 || path_length & 1) return DROP;
  const uint32_t functions = (path_length - 10) / 2, position = FIRST_INDEX - nsh[7];
  const uint32_t spi = (get32(nsh + 4) >> 8) & ~(uint32_t)RETURN;
  const struct chain *chain = find_chain(r, spi, get32(path));
  if (!chain || chain->functions != functions || position >= functions) return DROP;
  uint8_t *replica = path + 8 + 2 * position;
  if (get16(replica) != r->own && get16(replica) != CHOOSE) return DROP;
  if (end >= gpe + length || *end >> 4 != (nsh[3] == 1 ? 4 : 6)) return DROP;
  ttl = (ttl - 1) & 0x3f;
  if (ttl == 0) return DROP;
  put16(nsh, (get16(nsh) & 0xf03fu) | ttl << 6);
  nsh[7]--;
  put16(replica, r->own);
  *next = r->members[get16(replica + 2)];
  return *next ? FORWARD : DROP;
}

struct send {
  struct iovec bytes;
  uint32_t count, size;
  const struct endpoint *to;
  bool closed;  // its last datagram is a short one
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(uint16_t))];
  } control;
};

static struct send sends[SENDS];
static unsigned send_count;

static void flush(struct relay *r) {
  static struct mmsghdr messages[SENDS];
  for (unsigned i = 0; i < send_count; i++) {
    struct send *s = &sends[i];
    messages[i].msg_hdr = (struct msghdr){
        .msg_iov = &s->bytes, .msg_iovlen = 1, .msg_name = (void *)&s->to->any, .msg_namelen = s->to->length};
    if (s->count == 1) continue;
    const uint16_t size = (uint16_t)s->size;
    s->control.header = (struct cmsghdr){CMSG_LEN(sizeof size), SOL_UDP, UDP_SEGMENT};
    memcpy(CMSG_DATA(&s->control.header), &size, sizeof size);
    messages[i].msg_hdr.msg_control = &s->control;
    messages[i].msg_hdr.msg_controllen = sizeof s->control;
  }
  for (unsigned at = 0; at < send_count;) {
    const int done = sendmmsg(r->udp, messages + at, send_count - at, 0);  // blocks while the socket buffer is full
    r->sends++;
    if (done > 0) at += (unsigned)done;
    else if (errno != EINTR) r->dropped += sends[at++].count;
  }
  send_count = 0;
}

// A datagram behind the last one of a send joins it.
static void put(struct relay *r, uint8_t *bytes, uint32_t length, const struct endpoint *to) {
  struct send *last = send_count ? &sends[send_count - 1] : NULL;
  if (last && !last->closed && last->to == to && (uint8_t *)last->bytes.iov_base + last->bytes.iov_len == bytes &&
      length <= last->size && last->count < SEND_SEGMENTS) {
    last->bytes.iov_len += length;
    last->count++;
    last->closed = length < last->size;
    return;
  }
  if (send_count == SENDS) flush(r);
  sends[send_count++] = (struct send){.bytes = {bytes, length}, .count = 1, .size = length, .to = to};
}

static bool relay_datagrams(struct relay *r) {
  static struct mmsghdr messages[MESSAGES];
  static struct iovec buffers[MESSAGES];
  static struct endpoint from[MESSAGES];
  static union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control[MESSAGES];
  static uint8_t *memory;
  if (!memory) memory = must_allocate((size_t)MESSAGES * STRIDE);
  for (int i = 0; i < MESSAGES; i++) {
    buffers[i] = (struct iovec){memory + (size_t)i * STRIDE, 65536};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &buffers[i], .msg_iovlen = 1,
                                          .msg_control = &control[i], .msg_controllen = sizeof control[i],
                                          .msg_name = &from[i].any, .msg_namelen = sizeof from[i].v6};
  }
  const int count = recvmmsg(r->udp, messages, MESSAGES, MSG_DONTWAIT, NULL);
  if (count < 0) {
    if (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) DIE("recvmmsg");
    return errno != EAGAIN;
  }
  for (int i = 0; i < count; i++) {
    uint32_t left = messages[i].msg_len, size = left;
    struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
    if (c && c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
      int segment;
      memcpy(&segment, CMSG_DATA(c), sizeof segment);
      if (segment > 0) size = (uint32_t)segment;
    }
    from[i].length = messages[i].msg_hdr.msg_namelen;
    const uint64_t key = sender_key(&from[i]);
    const bool known = *find_sender(r, key) == key;
    r->receives++;
    for (uint8_t *at = buffers[i].iov_base; left; at += MIN(size, left), left -= MIN(size, left)) {
      const struct endpoint *next = &from[i];
      const enum verdict verdict = step(r, at, MIN(size, left), known, &next);
      if (verdict == DROP) r->dropped++;
      else put(r, at, MIN(size, left), next);
      if (verdict == FORWARD) r->datagrams++;
      else if (verdict == ANSWER) r->probes++;
    }
  }
  flush(r);
  return count == MESSAGES;
}

static void add_member(struct relay *r, const char *text) {
  char *rest;
  const unsigned long id = strtoul(text, &rest, 10);
  struct endpoint *at = must_allocate(sizeof *at);
  if (id < 1 || id >= IDS || *rest != '=' || !parse_address_port(rest + 1, at) || at->any.sa_family != AF_INET) usage(USAGE);
  r->members[id] = at;
  *find_sender(r, sender_key(at)) = sender_key(at);
}

static void add_chain(struct relay *r, const char *text) {
  struct chain *chain = &r->chains[r->chain_count];
  if (r->chain_count == CHAINS || sscanf(text, "%u:%u:%u", &chain->spi, &chain->revision, &chain->functions) != 3) usage(USAGE);
  r->chain_count++;
}

int main(int argc, char **argv) {
  static struct relay r;
  struct endpoint local;
  if (argc < 4 || !parse_address_port(argv[1], &local) || local.any.sa_family != AF_INET) usage(USAGE);
  r.tenant = (uint32_t)atoi(argv[2]);
  r.own = (uint32_t)atoi(argv[3]);
  unsigned members = 0;
  for (int i = 4; i < argc; i += 2) {
    if (i + 1 == argc) usage(USAGE);
    if (!strcmp(argv[i], "--chain")) add_chain(&r, argv[i + 1]);
    else if (!strcmp(argv[i], "--member") && members++ < SENDERS / 2) add_member(&r, argv[i + 1]);
    else usage(USAGE);
  }
  stop_on_signals();
  r.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (r.udp < 0) DIE("socket");
  enlarge_buffers(r.udp, 8 << 20);
  const int on = 1;
  if (setsockopt(r.udp, SOL_UDP, UDP_GRO, &on, sizeof on) < 0) DIE("UDP_GRO");
  if (bind(r.udp, &local.any, local.length) < 0) DIE("bind");
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, r.udp, &event) < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, stop_fd, &event) < 0)
    DIE("epoll");
  printf("{\"ready\":true,\"program\":\"relay\",\"id\":%u}\n", r.own);
  fflush(stdout);
  while (!stopping) {
    if (relay_datagrams(&r)) continue;
    struct epoll_event ready[2];
    if (epoll_wait(poller, ready, 2, -1) < 0 && errno != EINTR) DIE("epoll_wait");
  }
  printf("{\"datagrams\":%lu,\"receives\":%lu,\"sends\":%lu,\"probes\":%lu,\"dropped\":%lu,\"cpu_s\":%.3f}\n", r.datagrams, r.receives,
         r.sends, r.probes, r.dropped, cpu_seconds());
  return 0;
}
