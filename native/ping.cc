// Echo requests of ICMP and ICMPv6 to one host, and what comes of them. By a ping socket, which needs no privilege where
// net.ipv4.ping_group_range has the group of the process; where it has not, by a raw socket, which needs CAP_NET_RAW.
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
// Behind time.h, which it does not ask for.
#include <linux/errqueue.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "address.h"
#include "arguments.h"
#include "socket_options.h"

namespace {

// PingInfo in src/native/binding.ts.
enum Info { kIsError, kStart, kTtl, kType, kCode, kFrom, kInfoCells };
constexpr uint8_t kReply6 = 129;
// Errors that stand in front of the messages, as those of earlier sends do, are over with the call that tells of them.
constexpr int kPending = 16;

struct Ping {
  int family;
  const uint8_t* address;
  uint32_t scope;
  bool raw;
  uint16_t identifier;
};

// Of what comes to the host, a raw socket hears of all; only replies are wanted.
bool hearReplies(int fd, int family) {
  if (family == 4) {
    icmp_filter filter{};
    filter.data = ~(uint32_t{1} << ICMP_ECHOREPLY);
    return setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof filter) == 0;
  }
  icmp6_filter filter;
  ICMP6_FILTER_SETBLOCKALL(&filter);
  ICMP6_FILTER_SETPASS(kReply6, &filter);
  return setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) == 0;
}

// The first step that failed, or null.
const char* configure(int fd, Ping* ping, const sockaddr_in6& name, socklen_t length) {
  if (ping->raw && !hearReplies(fd, ping->family)) return "setsockopt(ICMP_FILTER)";
  if (ping->family == 4) {
    if (!setInt(fd, SOL_IP, IP_RECVERR, 1)) return "setsockopt(IP_RECVERR)";
    if (!setInt(fd, SOL_IP, IP_RECVTTL, 1)) return "setsockopt(IP_RECVTTL)";
  } else {
    if (!setInt(fd, SOL_IPV6, IPV6_RECVERR, 1)) return "setsockopt(IPV6_RECVERR)";
    if (!setInt(fd, SOL_IPV6, IPV6_RECVHOPLIMIT, 1)) return "setsockopt(IPV6_RECVHOPLIMIT)";
  }
  // From here on the kernel lets through only what that host sends.
  if (connect(fd, reinterpret_cast<const sockaddr*>(&name), length) < 0) return "connect";
  if (ping->raw) return nullptr;
  // The port of a ping socket is its identifier, which connect has chosen.
  sockaddr_in6 own{};
  own.sin6_family = name.sin6_family;
  socklen_t ownLength = sizeof own;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &ownLength) < 0) return "getsockname";
  ping->identifier = portOf(own);
  return nullptr;
}

int openPing(Ping* ping, Failure* failure) {
  int domain = ping->family == 6 ? AF_INET6 : AF_INET;
  int protocol = ping->family == 6 ? static_cast<int>(IPPROTO_ICMPV6) : static_cast<int>(IPPROTO_ICMP);
  constexpr int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  int fd = socket(domain, SOCK_DGRAM | flags, protocol);
  if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EPROTONOSUPPORT)) {
    ping->raw = true;
    fd = socket(domain, SOCK_RAW | flags, protocol);
  }
  if (fd < 0) return failure->set(errno, "socket(IPPROTO_ICMP)");
  sockaddr_in6 name;
  socklen_t length = makeSocketAddress(ping->family, ping->address, 0, ping->scope, &name);
  const char* failed = configure(fd, ping, name, length);
  if (failed == nullptr) return fd;
  int error = errno;
  char text[80];
  describeAddress(name, text, sizeof text);
  failure->set(error, failed, text);
  close(fd);
  return -1;
}

napi_value pingOpen(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  napi_value options = call.values[0];
  int64_t family;
  int64_t scope;
  void* address;
  size_t length;
  if (!fieldInteger(env, options, "family", 4, 6, &family)) return nullptr;
  if (!fieldTypedArray(env, options, "address", napi_uint8_array, &address, &length)) return nullptr;
  if (!fieldInteger(env, options, "scope", 0, UINT32_MAX, &scope)) return nullptr;
  if (family == 5 || length < (family == 4 ? 4u : 16u)) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "family must be 4 or 6, and address must have its bytes");
    return nullptr;
  }
  Ping ping{static_cast<int>(family), static_cast<const uint8_t*>(address), static_cast<uint32_t>(scope), false, 0};
  Failure failure;
  int fd = openPing(&ping, &failure);
  if (fd < 0) return throwFailure(env, failure);
  descriptorOpened(call.self, fd);
  napi_value result;
  napi_create_object(env, &result);
  setInteger(env, result, "fd", fd);
  setInteger(env, result, "identifier", ping.identifier);
  setBoolean(env, result, "raw", ping.raw);
  return result;
}

// Uint8Array or Int32Array without throwing: the data path has no exceptions.
template <typename T>
bool arrayOf(napi_env env, napi_value value, napi_typedarray_type wanted, T** data, size_t* length) {
  napi_typedarray_type type;
  void* bytes = nullptr;
  if (napi_get_typedarray_info(env, value, &type, length, &bytes, nullptr, nullptr) != napi_ok || type != wanted) {
    return false;
  }
  *data = static_cast<T*>(bytes);
  return true;
}

// How far the requests from here on go.
napi_value pingTtl(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  bool six = call.integer(1) == 6;
  bool done = setInt(call.integer(0), six ? SOL_IPV6 : SOL_IP, six ? IPV6_UNICAST_HOPS : IP_TTL, call.integer(2));
  return makeInteger(env, done ? 0 : -errno);
}

napi_value pingSend(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  const uint8_t* message;
  size_t length;
  if (!arrayOf(env, call.values[1], napi_uint8_array, &message, &length)) return makeInteger(env, -EINVAL);
  int error = 0;
  for (int i = 0; i < kPending; i++) {
    if (send(call.integer(0), message, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return makeInteger(env, 0);
    // That may have been about an earlier request. What is about this one comes again.
    if (error == errno && error != EINTR) break;
    error = errno;
  }
  return makeInteger(env, -error);
}

struct Received {
  msghdr header{};
  iovec part{};
  sockaddr_in6 name{};
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(sock_extended_err) + sizeof(sockaddr_in6)) + 64];

  ssize_t read(int fd, uint8_t* buffer, size_t length, int flags) {
    part = {buffer, length};
    header = {};
    header.msg_name = &name;
    header.msg_namelen = sizeof name;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t got;
    do {
      got = recvmsg(fd, &header, flags | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got;
  }

  void readControl(int32_t* cells, uint8_t* from) {
    for (cmsghdr* at = CMSG_FIRSTHDR(&header); at != nullptr; at = CMSG_NXTHDR(&header, at)) {
      bool four = at->cmsg_level == SOL_IP;
      bool six = at->cmsg_level == SOL_IPV6;
      if ((four && at->cmsg_type == IP_TTL) || (six && at->cmsg_type == IPV6_HOPLIMIT)) {
        int ttl = 0;
        if (at->cmsg_len >= CMSG_LEN(sizeof ttl)) memcpy(&ttl, CMSG_DATA(at), sizeof ttl);
        cells[kTtl] = ttl;
      } else if ((four && at->cmsg_type == IP_RECVERR) || (six && at->cmsg_type == IPV6_RECVERR)) {
        readError(at, cells, from);
      }
    }
  }

  // What an ICMP message said, and who sent it.
  static void readError(const cmsghdr* at, int32_t* cells, uint8_t* from) {
    sock_extended_err error;
    if (at->cmsg_len < CMSG_LEN(sizeof error)) return;
    const uint8_t* data = CMSG_DATA(const_cast<cmsghdr*>(at));
    memcpy(&error, data, sizeof error);
    if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6) return;
    cells[kType] = error.ee_type;
    cells[kCode] = error.ee_code;
    sockaddr_in6 offender{};
    size_t rest = static_cast<size_t>(at->cmsg_len) - CMSG_LEN(sizeof error);
    memcpy(&offender, data + sizeof error, std::min(rest, sizeof offender));
    if (offender.sin6_family == AF_INET6) {
      cells[kFrom] = 6;
      memcpy(from, &offender.sin6_addr, 16);
    } else if (offender.sin6_family == AF_INET) {
      sockaddr_in four;
      memcpy(&four, &offender, sizeof four);
      cells[kFrom] = 4;
      memcpy(from, &four.sin_addr, 4);
    }
  }
};

// Where the ICMP message starts in what was received; -1: it is none. A raw socket of IPv4 has the IP header too.
int32_t startOf(const Received& received, const uint8_t* bytes, ssize_t got, bool rawFour) {
  if (received.header.msg_flags & MSG_TRUNC) return -1;
  if (!rawFour) return got >= 8 ? 0 : -1;
  if (got < 20) return -1;
  int32_t header = (bytes[0] & 0x0f) * 4;
  return header >= 20 && header + 8 <= got ? header : -1;
}

napi_value pingReceive(napi_env env, napi_callback_info info) {
  Arguments<5> call(env, info);
  int fd = call.integer(0);
  uint8_t* buffer;
  int32_t* cells;
  uint8_t* from;
  size_t length;
  size_t cellCount;
  size_t fromLength;
  if (!arrayOf(env, call.values[2], napi_uint8_array, &buffer, &length) ||
      !arrayOf(env, call.values[3], napi_int32_array, &cells, &cellCount) ||
      !arrayOf(env, call.values[4], napi_uint8_array, &from, &fromLength) || cellCount < kInfoCells ||
      fromLength < 16) {
    return makeInteger(env, -EINVAL);
  }
  bool rawFour = call.integer(1) == 1;
  Received received;
  int error = EAGAIN;
  for (int i = 0; i < kPending; i++) {
    std::fill(cells, cells + kInfoCells, 0);
    ssize_t got = received.read(fd, buffer, length, 0);
    if (got >= 0) {
      int32_t start = startOf(received, buffer, got, rawFour);
      if (start < 0) continue;
      cells[kStart] = start;
      received.readControl(cells, from);
      return makeInteger(env, static_cast<int32_t>(got));
    }
    error = errno;
    got = received.read(fd, buffer, length, MSG_ERRQUEUE);
    if (got >= 0) {
      cells[kIsError] = 1;
      received.readControl(cells, from);
      return makeInteger(env, static_cast<int32_t>(got));
    }
    // One that stood in front of both queues.
    if (error == EAGAIN && errno == EAGAIN) break;
    if (error == EBADF || error == ENOTSOCK) break;
  }
  return makeInteger(env, -error);
}

}  // namespace

void definePing(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "pingOpen", pingOpen);
  defineFunction(env, exports, self, "pingTtl", pingTtl);
  defineFunction(env, exports, self, "pingSend", pingSend);
  defineFunction(env, exports, self, "pingReceive", pingReceive);
}
