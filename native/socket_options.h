// Setting sockets up: what the UDP ports and the packet sockets share, and names that older C libraries lack.
#pragma once

#include <netinet/udp.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

inline bool setInt(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

// -1 for an option that this kernel does not know.
inline int getInt(int fd, int level, int option) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, level, option, &value, &length) == 0 ? value : -1;
}

// Over the system's limit with CAP_NET_ADMIN, up to it without; 0 leaves the system's default.
inline void setBuffers(int fd, int bytes) {
  if (bytes <= 0) return;
  if (!setInt(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes)) setInt(fd, SOL_SOCKET, SO_RCVBUF, bytes);
  if (!setInt(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes)) setInt(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}
