// What both tunnels share: their command line, the outer socket, who is behind which inner address, the result line.
#pragma once
#include "packet.h"
#include "tun.h"

struct tunnel {
  struct tun tun;
  int udp;
  bool server;  // PEER was `-`
  uint64_t frames_in, frames_out, datagrams_out, udp_sends, datagrams_in, udp_receives, bad, dropped;
};

// Inner address -> outer address, learned from what arrives. Open addressing; inner addresses are never forgotten.
enum { PEER_SLOTS = 2048, PEERS_MAX = 1024 };
struct peer {
  uint8_t inner[16];
  uint8_t inner_length;
  struct endpoint outer;
};
static struct peer peers[PEER_SLOTS];
static unsigned peer_count;

static inline struct peer *find_peer(const uint8_t *address, unsigned length) {
  unsigned slot = get32(address + length - 4) * 0x9e3779b1u >> 21;
  while (peers[slot].inner_length && (peers[slot].inner_length != length || memcmp(peers[slot].inner, address, length)))
    slot = (slot + 1) % PEER_SLOTS;
  return &peers[slot];
}

static inline void learn_peer(const uint8_t *ip, const struct endpoint *outer) {
  const unsigned length = address_length(ip);
  struct peer *peer = find_peer(source_address(ip), length);
  if (!peer->inner_length) {
    if (peer_count == PEERS_MAX) return;
    peer_count++;
    memcpy(peer->inner, source_address(ip), length);
    peer->inner_length = (uint8_t)length;
  }
  peer->outer = *outer;
}

// The peer that a packet from the TUN goes to; NULL if nobody has that address.
static inline const struct peer *peer_for(const uint8_t *ip) {
  const struct peer *peer = find_peer(destination_address(ip), address_length(ip));
  return peer->inner_length ? peer : NULL;
}

// A whole IP header and no other length than it says: everything that comes in is held against this first.
static inline bool well_formed(const uint8_t *ip, uint32_t length) {
  if (length >= 20 && is_ipv4(ip)) return (ip[0] & 15) >= 5 && get16(ip + 2) == length && length >= (ip[0] & 15) * 4u;
  return length >= 40 && ip[0] >> 4 == 6 && get16(ip + 4) + 40u == length;
}

static inline struct tunnel open_tunnel(int argc, char **argv, bool superframes) {
  const char *text = superframes ? "IFNAME LOCAL:PORT PEER:PORT|- [--mtu N] [--txqueuelen N] [--no-uso] [--no-tso]"
                                 : "IFNAME LOCAL:PORT PEER:PORT|- [--mtu N] [--txqueuelen N]";
  uint32_t mtu = 1420;
  int queue = 1000;
  bool tso = true, uso = true;
  struct endpoint local, remote;
  if (argc < 4) usage(text);
  for (int i = 4; i < argc; i++) {
    if (i + 1 < argc && !strcmp(argv[i], "--mtu")) mtu = (uint32_t)atoi(argv[++i]);
    else if (i + 1 < argc && !strcmp(argv[i], "--txqueuelen")) queue = atoi(argv[++i]);
    else if (superframes && !strcmp(argv[i], "--no-uso")) uso = false;
    else if (superframes && !strcmp(argv[i], "--no-tso")) tso = false;
    else usage(text);
  }
  struct tunnel t = {.server = !strcmp(argv[3], "-")};
  if (mtu < 576 || mtu > 65000 || queue < 1 || !parse_address_port(argv[2], &local)) usage(text);
  if (!t.server && !parse_address_port(argv[3], &remote)) usage(text);
  stop_on_signals();
  t.udp = socket(local.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (t.udp < 0) DIE("socket");
  enlarge_buffers(t.udp, 8 << 20);
  if (bind(t.udp, &local.any, local.length) < 0) DIE("bind");
  if (!t.server && connect(t.udp, &remote.any, remote.length) < 0) DIE("connect");
  t.tun = open_tun(argv[1], mtu, queue, superframes, tso, uso);
  printf("{\"ready\":true,\"program\":\"%s\",\"interface\":\"%s\",\"mtu\":%u,\"gso_max_size\":%u,\"gso_max_segs\":%u,"
         "\"uso\":%s,\"tso\":%s}\n",
         program_invocation_short_name, argv[1], mtu, t.tun.gso_size, t.tun.gso_segments, t.tun.uso ? "true" : "false",
         t.tun.tso ? "true" : "false");
  fflush(stdout);
  return t;
}

static inline void print_tunnel_result(const struct tunnel *t) {
  printf("{\"tun_frames_in\":%lu,\"tun_frames_out\":%lu,\"datagrams_out\":%lu,\"udp_sends\":%lu,\"datagrams_in\":%lu,"
         "\"udp_receives\":%lu,\"bad\":%lu,\"dropped\":%lu,\"cpu_s\":%.3f}\n",
         t->frames_in, t->frames_out, t->datagrams_out, t->udp_sends, t->datagrams_in, t->udp_receives, t->bad, t->dropped,
         cpu_seconds());
  fflush(stdout);
}
