// A tunnel as it is usually written: TUN <-> UDP, one packet per system call, no superframes, no batches.
//
// Good for its kind: one thread, no copy, no allocation; each side is read until it is empty (bounded, so that neither direction
// starves the other) before the thread goes back to ppoll, which under load saves one system call in two.
#include "tunnel.h"

enum { PACKET_MAX = 65536, TURN = 64 };

static uint8_t packet[PACKET_MAX];

static bool send_frames(struct tunnel *t) {
  for (int i = 0; i < TURN; i++) {
    const ssize_t length = read(t->tun.fd, packet, sizeof packet);
    if (length < 0) return errno != EAGAIN;
    t->frames_in++;
    if (!well_formed(packet, (uint32_t)length)) {
      t->bad++;
      continue;
    }
    const struct peer *peer = NULL;
    if (t->server && !(peer = peer_for(packet))) {
      t->dropped++;
      continue;
    }
    ssize_t sent = peer ? sendto(t->udp, packet, (size_t)length, 0, &peer->outer.any, peer->outer.length)
                        : send(t->udp, packet, (size_t)length, 0);
    if (sent < 0 && errno == ECONNREFUSED) sent = send(t->udp, packet, (size_t)length, 0);  // of an earlier packet
    t->udp_sends++;
    if (sent == length) t->datagrams_out++;
    else t->dropped++;
  }
  return true;
}

static bool receive_datagrams(struct tunnel *t) {
  for (int i = 0; i < TURN; i++) {
    struct endpoint from;
    from.length = sizeof from.v6;
    const ssize_t length = t->server ? recvfrom(t->udp, packet, sizeof packet, MSG_DONTWAIT, &from.any, &from.length)
                                     : recv(t->udp, packet, sizeof packet, MSG_DONTWAIT);
    if (length < 0) return errno != EAGAIN;
    t->udp_receives++, t->datagrams_in++;
    if (!well_formed(packet, (uint32_t)length)) {
      t->bad++;
      continue;
    }
    if (t->server) learn_peer(packet, &from);
    if (write(t->tun.fd, packet, (size_t)length) == length) t->frames_out++;
    else t->dropped++;
  }
  return true;
}

int main(int argc, char **argv) {
  struct tunnel t = open_tunnel(argc, argv, false);
  while (!stopping) {
    bool more = receive_datagrams(&t);
    more |= send_frames(&t);
    if (more) continue;
    struct pollfd wait[] = {{.fd = t.udp, .events = POLLIN}, {.fd = t.tun.fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    if (ppoll(wait, COUNT(wait), NULL, NULL) < 0 && errno != EINTR) DIE("ppoll");
  }
  print_tunnel_result(&t);
}
