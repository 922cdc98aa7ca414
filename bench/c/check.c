// Checks every checksum inside IP packets on an interface, independently of the tunnels: by the obvious sum of 16-bit words, and without
// belief in what the frame's descriptor says about validity.
//
// `packets IFNAME`: what the interface receives and sends. Where a device offload will fill the checksum in (superframes, packets made
// on this machine), the kernel marks the frame; then the pseudo-header sum in its place must be right: `partial`. Run
// `ethtool -K IFNAME tx off gso off tso off` to have all of them full.
// `udp-payload IFNAME PORT`: the IP packets inside UDP datagrams to or from PORT. Superframes of datagrams are taken apart by their
// segment size; inside, every checksum must be complete and right. Datagrams that were fragmented outside are not looked into.
#include "packet.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>

static struct {
  uint64_t packets, good, bad, partial, partial_bad, fragments, unchecked, truncated;
} counts;

static uint32_t words(const uint8_t *at, uint32_t length) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i + 1 < length; i += 2) sum += get16(at + i);
  if (length & 1) sum += (uint32_t)at[length - 1] << 8;
  return sum;
}

static uint16_t folded(uint32_t sum) {
  while (sum >> 16) sum = (sum >> 16) + (sum & 0xffff);
  return (uint16_t)sum;
}

static void bad(const uint8_t *ip, uint32_t length, const char *why) {
  static int shown;
  counts.bad++;
  if (shown++ >= 5) return;
  fprintf(stderr, "bad %s, %u bytes: ", why, length);
  for (uint32_t i = 0; i < MIN(length, 128u); i++) fprintf(stderr, "%02x", ip[i]);
  fprintf(stderr, "\n");
}

// TCP, UDP, ICMP or ICMPv6 at `at`. `partial`: the kernel says that the checksum is still to be filled in.
static void check_transport(const uint8_t *ip, uint32_t length, uint32_t at, uint8_t protocol, bool partial) {
  const uint8_t *l4 = ip + at;
  const uint32_t l4_length = length - at;
  const uint32_t check = protocol == IPPROTO_TCP ? 16 : protocol == IPPROTO_UDP ? 6 : 2;
  const uint32_t least = protocol == IPPROTO_TCP ? 20 : 8;
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_ICMPV6 && protocol != IPPROTO_ICMP) {
    counts.unchecked++;
    return;
  }
  if (l4_length < least) {
    counts.truncated++;
    return;
  }
  if (protocol == IPPROTO_UDP && get16(l4 + 4) != l4_length) return bad(ip, length, "UDP length");
  if (protocol == IPPROTO_UDP && get16(l4 + 6) == 0) {  // no checksum: allowed by RFC 768, not over IPv6 (RFC 8200 8.1)
    if (!is_ipv4(ip)) return bad(ip, length, "UDP checksum 0");
    counts.unchecked++;
    return;
  }
  uint32_t pseudo = 0;
  if (protocol != IPPROTO_ICMP)
    pseudo = words(source_address(ip), 2 * address_length(ip)) + protocol + (l4_length >> 16) + (l4_length & 0xffff);
  if (partial) {
    if (folded(pseudo) == get16(l4 + check)) counts.partial++;
    else counts.partial_bad++;
  } else if (folded(pseudo + words(l4, l4_length)) == 0xffff) {
    counts.good++;
  } else {
    bad(ip, length, protocol == IPPROTO_TCP ? "TCP checksum" : protocol == IPPROTO_UDP ? "UDP checksum" : "ICMP checksum");
  }
}

// `length` may be more than the packet says: Ethernet pads short frames.
static void check_ip(const uint8_t *ip, uint32_t length, bool partial) {
  counts.packets++;
  if (length >= 20 && is_ipv4(ip)) {
    const uint32_t header = (ip[0] & 15) * 4u, total = get16(ip + 2);
    if (header < 20 || total < header || total > length) {
      counts.truncated++;
    } else if (folded(words(ip, header)) != 0xffff) {
      bad(ip, length, "IPv4 header checksum");
    } else if (get16(ip + 6) & 0x3fff) {
      counts.fragments++;
    } else {
      check_transport(ip, total, header, ip[9], partial);
    }
    return;
  }
  if (length < 40 || ip[0] >> 4 != 6 || get16(ip + 4) + 40u > length) {
    counts.truncated++;
    return;
  }
  const uint32_t total = get16(ip + 4) + 40u;
  uint32_t at = 40;
  uint8_t next = ip[6];
  while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT) {
    if (next == IPPROTO_FRAGMENT) {
      counts.fragments++;
      return;
    }
    if (next == IPPROTO_ROUTING && at + 4 <= total && ip[at + 3]) {  // the sum is over the final destination (RFC 8200 8.1)
      counts.unchecked++;
      return;
    }
    if (at + 8 > total) {
      counts.truncated++;
      return;
    }
    next = ip[at];
    at += (ip[at + 1] + 1u) * 8;
  }
  if (at > total) counts.truncated++;
  else check_transport(ip, total, at, next, partial);
}

// Where the UDP payload starts in an outer packet to or from `port`; 0 if it is none.
static uint32_t udp_payload(const uint8_t *ip, uint32_t length, uint16_t port) {
  uint32_t at = 0;
  if (length >= 28 && is_ipv4(ip) && ip[9] == IPPROTO_UDP && !(get16(ip + 6) & 0x3fff)) at = (ip[0] & 15) * 4u;
  if (length >= 48 && ip[0] >> 4 == 6 && ip[6] == IPPROTO_UDP) at = 40;
  if (!at || at + 8 > length || (get16(ip + at) != port && get16(ip + at + 2) != port)) return 0;
  return at + 8;
}

static void check_payload(const uint8_t *ip, uint32_t length, uint16_t port, const struct vnet_header *vnet) {
  uint32_t at = udp_payload(ip, length, port);
  if (!at) return;
  const uint32_t end = MIN(length, is_ipv4(ip) ? get16(ip + 2) : get16(ip + 4) + 40u);
  const uint32_t size = (vnet->gso_type & ~GSO_ECN) == GSO_NONE ? end - at : vnet->gso_size;
  for (; at < end && size; at += size) {
    const uint8_t *inner = ip + at;
    const uint32_t inner_length = MIN(size, end - at);
    if (inner[0] >> 4 == 4 || inner[0] >> 4 == 6) check_ip(inner, inner_length, false);  // the rest are control messages
  }
}

int main(int argc, char **argv) {
  const char *text = "SECONDS packets IFNAME | SECONDS udp-payload IFNAME PORT";
  const bool payloads = argc == 5 && !strcmp(argv[2], "udp-payload");
  if (!payloads && (argc != 4 || strcmp(argv[2], "packets"))) usage(text);
  const double seconds = atof(argv[1]);
  const uint16_t port = payloads ? (uint16_t)atoi(argv[4]) : 0;
  if (seconds <= 0 || (payloads && !port)) usage(text);
  stop_on_signals();
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) DIE("socket AF_PACKET");
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(argv[3])};
  if (!address.sll_ifindex) DIE(argv[3]);
  enlarge_buffers(fd, 512 << 20);  // a second of full rate, or so
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0) DIE("PACKET_VNET_HDR");
  if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) DIE("bind");
  printf("{\"ready\":true,\"program\":\"check\"}\n");
  fflush(stdout);
  uint8_t *packet = must_allocate(1 << 17);
  const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
  for (uint64_t now; !stopping && (now = now_ns()) < end;) {
    struct vnet_header vnet = {0};
    struct sockaddr_ll from;
    struct iovec parts[] = {{&vnet, 10}, {packet, 1 << 17}};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = parts, .msg_iovlen = 2};
    const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
    if (got < 0) {
      if (errno != EAGAIN && errno != ENETDOWN && errno != EINTR) DIE("recvmsg");
      struct pollfd wait[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
      const struct timespec left = {(time_t)((end - now) / 1000000000u), (long)((end - now) % 1000000000u)};
      if (ppoll(wait, COUNT(wait), &left, NULL) < 0 && errno != EINTR) DIE("ppoll");
      continue;
    }
    const uint32_t link = from.sll_hatype == ARPHRD_ETHER || from.sll_hatype == ARPHRD_LOOPBACK ? 14 : 0;
    const uint32_t length = (uint32_t)MAX(got - 10 - (ssize_t)link, 0);
    if (from.sll_protocol != htons(ETH_P_IP) && from.sll_protocol != htons(ETH_P_IPV6)) continue;
    if (payloads) check_payload(packet + link, length, port, &vnet);
    else check_ip(packet + link, length, vnet.flags & NEEDS_CSUM);
  }
  struct tpacket_stats lost = {0};
  socklen_t lost_size = sizeof lost;
  getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &lost, &lost_size);
  printf("{\"packets\":%lu,\"good\":%lu,\"bad\":%lu,\"partial\":%lu,\"partial_bad\":%lu,\"fragments\":%lu,\"unchecked\":%lu,"
         "\"truncated\":%lu,\"lost\":%u}\n",
         counts.packets, counts.good, counts.bad, counts.partial, counts.partial_bad, counts.fragments, counts.unchecked,
         counts.truncated, lost.tp_drops);
}
