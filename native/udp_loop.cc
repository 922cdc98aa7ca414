// One trip over loopback: a segmented send from a socket to another of this process, and what arrived of it. Whether
// it is what was sent, and what to think of a kernel where it is not, is the business of src/tun/udp-self-test.ts.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "socket_options.h"

namespace {

// Delivery over loopback is done when the send returns, unless packet steering (RPS) gives it to another core.
constexpr int kPatienceMs = 10;

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

struct Trip {
  int family;
  Bytes payload;
  uint16_t segmentSize;
  bool gro;
  Bytes received;
  int32_t* sizes;
  int32_t sizesLength;
};

// A socket on a loopback port of the kernel's choice; 0 or -errno.
int openLoopback(int family, Descriptor* socketOut, sockaddr_in6* name, socklen_t* length) {
  *name = {};
  if (family == 4) {
    sockaddr_in* four = reinterpret_cast<sockaddr_in*>(name);
    four->sin_family = AF_INET;
    four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *length = sizeof *four;
  } else {
    name->sin6_family = AF_INET6;
    name->sin6_addr = in6addr_loopback;
    *length = sizeof *name;
  }
  int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  socketOut->fd = fd;
  if (bind(fd, reinterpret_cast<sockaddr*>(name), *length) < 0) return -errno;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(name), length) < 0) return -errno;
  return 0;
}

int sendSegmented(int fd, const Trip& trip) {
  iovec part{trip.payload.data, trip.payload.length};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {};
  if (trip.segmentSize > 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof trip.segmentSize);
    memcpy(CMSG_DATA(header), &trip.segmentSize, sizeof trip.segmentSize);
  }
  return sendmsg(fd, &message, 0) < 0 ? -errno : 0;
}

// Takes one message apart by the segment size that came with it. Its number of bytes, or -errno.
int takeMessage(int fd, const Trip& trip, size_t at, int32_t* count) {
  iovec part{trip.received.data + at, trip.received.length - at};
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  // MSG_TRUNC: the true length, also of what is more than was sent.
  ssize_t got = recvmsg(fd, &message, MSG_TRUNC);
  if (got < 0) return -errno;
  int size = 0;
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level == SOL_UDP && each->cmsg_type == UDP_GRO) memcpy(&size, CMSG_DATA(each), sizeof size);
  }
  int length = static_cast<int>(got);
  if (size <= 0 || size > length) size = length;
  for (int left = length; left > 0 && *count < trip.sizesLength; left -= size) {
    trip.sizes[(*count)++] = std::min(left, size);
  }
  return length;
}

// The number of datagrams that arrived, or -errno of what could not be set up or sent.
int makeTrip(const Trip& trip) {
  Descriptor from;
  Descriptor to;
  sockaddr_in6 fromName;
  sockaddr_in6 toName;
  socklen_t length;
  int error = openLoopback(trip.family, &from, &fromName, &length);
  if (error == 0) error = openLoopback(trip.family, &to, &toName, &length);
  if (error < 0) return error;
  // Each hears the other alone.
  if (connect(to.fd, reinterpret_cast<sockaddr*>(&fromName), length) < 0) return -errno;
  if (connect(from.fd, reinterpret_cast<sockaddr*>(&toName), length) < 0) return -errno;
  int on = 1;
  if (trip.gro && setsockopt(to.fd, SOL_UDP, UDP_GRO, &on, sizeof on) < 0) return -errno;
  error = sendSegmented(from.fd, trip);
  if (error < 0) return error;
  int32_t count = 0;
  size_t total = 0;
  while (total < trip.payload.length && total < trip.received.length && count < trip.sizesLength) {
    int got = takeMessage(to.fd, trip, total, &count);
    if (got >= 0) {
      total += static_cast<size_t>(got);
    } else if (got != -EINTR) {
      pollfd wait{to.fd, POLLIN, 0};
      if (got != -EAGAIN || poll(&wait, 1, kPatienceMs) <= 0) break;
    }
  }
  return count;
}

napi_value udpLoop(napi_env env, napi_callback_info info) {
  Arguments<6> call(env, info);
  Trip trip{};
  int64_t family;
  int64_t segmentSize;
  void* sizes = nullptr;
  size_t sizesLength = 0;
  if (!readInteger(env, call.values[0], "family", 4, 6, &family)) return nullptr;
  if (!readBytes(env, call.values[1], "payload", &trip.payload)) return nullptr;
  if (!readInteger(env, call.values[2], "segmentSize", 0, UINT16_MAX, &segmentSize)) return nullptr;
  if (!readBoolean(env, call.values[3], "gro", &trip.gro)) return nullptr;
  if (!readBytes(env, call.values[4], "received", &trip.received)) return nullptr;
  if (!readTypedArray(env, call.values[5], "sizes", napi_int32_array, &sizes, &sizesLength)) return nullptr;
  if (family == 5) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "family must be 4 or 6");
    return nullptr;
  }
  trip.family = static_cast<int>(family);
  trip.segmentSize = static_cast<uint16_t>(segmentSize);
  trip.sizes = static_cast<int32_t*>(sizes);
  trip.sizesLength = static_cast<int32_t>(std::min<size_t>(sizesLength, INT32_MAX));
  return makeInteger(env, makeTrip(trip));
}

}  // namespace

void defineUdpLoop(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "udpLoop", udpLoop);
}
