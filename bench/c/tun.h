// Opens a TUN, with the superframe header or without, sets it up and brings it up.
#pragma once
#include "common.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>

enum { USO4 = 0x20, USO6 = 0x40 };  // TUN_F_USO4, TUN_F_USO6: Linux 6.2, not in Debian 12's headers

// What fits one UDP_SEGMENT send: 64 datagrams before Linux 6.9, and 65 507 bytes.
enum { SEND_SEGMENTS = 64, SEND_BYTES = 65507 };

struct tun {
  int fd;
  bool tso, uso;
  uint32_t mtu, gso_segments, gso_size;
};

static inline int set_link(const char *name, uint32_t gso_size, uint32_t gso_segments) {
  struct {
    struct nlmsghdr header;
    struct ifinfomsg link;
    struct {
      struct rtattr head;
      uint32_t value;
    } attributes[2];
  } request = {
      .header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_SETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
      .link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(name)},
      .attributes = {{{8, IFLA_GSO_MAX_SIZE}, gso_size}, {{8, IFLA_GSO_MAX_SEGS}, gso_segments}},
  };
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
    uint8_t rest[256];
  } reply;
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -1;
  const bool answered = send(fd, &request, sizeof request, 0) > 0 && recv(fd, &reply, sizeof reply, 0) > 0;
  close(fd);
  if (!answered) return -1;
  errno = -reply.error.error;
  return errno ? -1 : 0;
}

static inline struct tun open_tun(const char *name, uint32_t mtu, int queue, bool vnet, bool tso, bool uso) {
  struct tun tun = {.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), .mtu = mtu};
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | (vnet ? IFF_VNET_HDR : 0)};
  snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
  if (tun.fd < 0) DIE("open /dev/net/tun");
  if (ioctl(tun.fd, TUNSETIFF, &request) < 0) DIE("TUNSETIFF");
  if (vnet) {
    const int header = 12;
    if (ioctl(tun.fd, TUNSETVNETHDRSZ, &header) < 0) DIE("TUNSETVNETHDRSZ");
    const unsigned long csum = TUN_F_CSUM, tcp = csum | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    tun.tso = tso;
    tun.uso = uso && ioctl(tun.fd, TUNSETOFFLOAD, (tso ? tcp : csum) | USO4 | USO6) == 0;
    if (!tun.uso && ioctl(tun.fd, TUNSETOFFLOAD, tso ? tcp : csum) < 0) DIE("TUNSETOFFLOAD");
  }
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) DIE("socket");
  request.ifr_mtu = (int)mtu;
  if (ioctl(fd, SIOCSIFMTU, &request) < 0) DIE("SIOCSIFMTU");
  request.ifr_qlen = queue;
  if (ioctl(fd, SIOCSIFTXQLEN, &request) < 0) DIE("SIOCSIFTXQLEN");
  // A superframe no longer than one send: 46 segments at an MTU of 1420, where the default would give 47 and so two sends and two
  // writes for each. 52: IPv4 and TCP with time stamps; 321: what Linux takes off the limit first (MAX_TCP_HEADER + 1).
  tun.gso_segments = MIN(SEND_BYTES / mtu, (uint32_t)SEND_SEGMENTS);
  tun.gso_size = MIN(tun.gso_segments * (mtu - 52) + 321, 65536u);
  if (vnet && set_link(name, tun.gso_size, tun.gso_segments) < 0) DIE("RTM_SETLINK gso_max_size");
  if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) DIE("SIOCGIFFLAGS");
  request.ifr_flags |= IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) DIE("SIOCSIFFLAGS");
  close(fd);
  return tun;
}
