// UDP sockets: opening and batched receiving with GRO.
#include "udp.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "netns.h"
#include "socket_options.h"

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

namespace {

struct UdpRequest {
  int family;
  const uint8_t* address;
  uint32_t scope;
  uint16_t port;
  bool dualStack;
  bool reuse;
  int buffer;
  bool gso;
  bool gro;
  char device[16];
  int receiveBuffer;
  int sendBuffer;
};

// The first step that failed, or null.
const char* configure(int fd, UdpRequest* request) {
  bool six = request->family == 6;
  bool both = six && request->dualStack;
  if (six && !setInt(fd, SOL_IPV6, IPV6_V6ONLY, both ? 0 : 1)) return "setsockopt(IPV6_V6ONLY)";
  if (request->reuse) {
    if (!setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return "setsockopt(SO_REUSEADDR)";
    if (!setInt(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return "setsockopt(SO_REUSEPORT)";
  }
  if (request->device[0] != '\0' &&
      setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, request->device,
                 static_cast<socklen_t>(strlen(request->device))) < 0) {
    return "setsockopt(SO_BINDTODEVICE)";
  }
  // Don't-fragment set, and the kernel's own idea of the path MTU ignored: the tunnel measures it (RFC 8899).
  if (six && !setInt(fd, SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE)) return "setsockopt(IPV6_MTU_DISCOVER)";
  if ((!six || both) && !setInt(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)) return "setsockopt(IP_MTU_DISCOVER)";
  if (six && !setInt(fd, SOL_IPV6, IPV6_RECVTCLASS, 1)) return "setsockopt(IPV6_RECVTCLASS)";
  if ((!six || both) && !setInt(fd, SOL_IP, IP_RECVTOS, 1)) return "setsockopt(IP_RECVTOS)";
  setBuffers(fd, request->buffer);
  request->receiveBuffer = getInt(fd, SOL_SOCKET, SO_RCVBUF);
  request->sendBuffer = getInt(fd, SOL_SOCKET, SO_SNDBUF);
  // Linux 4.18 and 5.0 brought these; without them the port works one datagram at a time.
  request->gso = request->gso && getInt(fd, SOL_UDP, UDP_SEGMENT) >= 0;
  request->gro = request->gro && setInt(fd, SOL_UDP, UDP_GRO, 1);
  return nullptr;
}

int openUdp(void* argument, Failure* failure) {
  UdpRequest* request = static_cast<UdpRequest*>(argument);
  int fd = socket(request->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failure->set(errno, "socket");
  sockaddr_in6 name;
  socklen_t length = makeSocketAddress(request->family, request->address, request->port, request->scope, &name);
  char text[80];
  describeAddress(name, text, sizeof text);
  const char* failed = configure(fd, request);
  if (failed == nullptr && bind(fd, reinterpret_cast<sockaddr*>(&name), length) < 0) failed = "bind";
  if (failed == nullptr && getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) < 0) failed = "getsockname";
  if (failed != nullptr) {
    failure->set(errno, failed, strstr(failed, "BINDTODEVICE") ? request->device : text);
    close(fd);
    return -1;
  }
  request->port = portOf(name);
  return fd;
}

napi_value udpOpen(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  napi_value options = call.values[0];
  UdpRequest request{};
  int64_t family;
  int64_t scope;
  int64_t port;
  int64_t buffer;
  void* address;
  size_t addressLength;
  char netns[kNamespacePath];
  if (!fieldInteger(env, options, "family", 4, 6, &family)) return nullptr;
  if (!fieldTypedArray(env, options, "address", napi_uint8_array, &address, &addressLength)) return nullptr;
  if (!fieldInteger(env, options, "scope", 0, UINT32_MAX, &scope)) return nullptr;
  if (!fieldInteger(env, options, "port", 0, 65535, &port)) return nullptr;
  if (!fieldBoolean(env, options, "dualStack", &request.dualStack)) return nullptr;
  if (!fieldBoolean(env, options, "reuse", &request.reuse)) return nullptr;
  if (!fieldInteger(env, options, "buffer", 0, INT32_MAX / 2, &buffer)) return nullptr;
  if (!fieldBoolean(env, options, "gso", &request.gso)) return nullptr;
  if (!fieldBoolean(env, options, "gro", &request.gro)) return nullptr;
  if (!fieldString(env, options, "device", request.device, sizeof request.device)) return nullptr;
  if (!fieldString(env, options, "netns", netns, sizeof netns)) return nullptr;
  if (family == 5 || addressLength < (family == 4 ? 4u : 16u)) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "family must be 4 or 6, and address must have its bytes");
    return nullptr;
  }
  request.family = static_cast<int>(family);
  request.address = static_cast<const uint8_t*>(address);
  request.scope = static_cast<uint32_t>(scope);
  request.port = static_cast<uint16_t>(port);
  request.buffer = static_cast<int>(buffer);
  Failure failure;
  int fd = inNamespace(netns, openUdp, &request, &failure);
  if (fd < 0) return throwFailure(env, failure);
  descriptorOpened(call.self, fd);
  napi_value result;
  napi_create_object(env, &result);
  setInteger(env, result, "fd", fd);
  setInteger(env, result, "port", request.port);
  setBoolean(env, result, "gso", request.gso);
  setBoolean(env, result, "gro", request.gro);
  setInteger(env, result, "receiveBuffer", request.receiveBuffer);
  setInteger(env, result, "sendBuffer", request.sendBuffer);
  return result;
}

// The `coalesce` of UdpPortOptions; without one nothing is merged.
bool readFraming(napi_env env, napi_value options, Framing* framing) {
  int64_t number = 0;
  if (fieldPresent(env, options, "coalesce") && !fieldInteger(env, options, "coalesce", 0, 5, &number)) return false;
  return framingOf(static_cast<int32_t>(number), framing);
}

// A socket that is not connected hears of ICMP errors only if it asks. On one of family 6 that is dual, of both kinds.
bool askForErrors(const UdpPort* port) {
  bool four = setInt(port->fd, SOL_IP, IP_RECVERR, 1);
  return port->family == 4 ? four : setInt(port->fd, SOL_IPV6, IPV6_RECVERR, 1);
}

napi_value udpPort(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  napi_value options = call.values[2];
  UdpPort* port = new UdpPort;
  int64_t family;
  int64_t pinned;
  void* rows = nullptr;
  void* cursor = nullptr;
  void* tooLong = nullptr;
  void* refused = nullptr;
  size_t refusedLength = 0;
  bool refusals = false;
  size_t rowBytes = 0;
  size_t cursorLength = 0;
  size_t tooLongLength = 0;
  napi_value addresses;
  bool ok = preparePort(port, call.self, call.values[0], call.values[1], options) &&
            fieldInteger(env, options, "family", 4, 6, &family) && fieldBoolean(env, options, "gso", &port->gso) &&
            fieldBoolean(env, options, "gro", &port->gro) && readFraming(env, options, &port->framing) &&
            napi_get_named_property(env, options, "addresses", &addresses) == napi_ok &&
            fieldTypedArray(env, addresses, "rows", napi_uint8_array, &rows, &rowBytes, &port->held[2]) &&
            fieldTypedArray(env, addresses, "cursor", napi_int32_array, &cursor, &cursorLength, &port->held[3]) &&
            fieldTypedArray(env, addresses, "tooLong", napi_int32_array, &tooLong, &tooLongLength, &port->held[4]) &&
            fieldTypedArray(env, addresses, "refused", napi_int32_array, &refused, &refusedLength, &port->held[5]) &&
            (!fieldPresent(env, options, "refusals") || fieldBoolean(env, options, "refusals", &refusals)) &&
            fieldInteger(env, addresses, "pinned", 0,
                         static_cast<int64_t>(std::min<size_t>(rowBytes / kAddressRow, 1 << 24)), &pinned);
  if (ok && (cursorLength < 1 || std::min(tooLongLength, refusedLength) <= static_cast<size_t>(pinned))) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE",
                           "cursor must have a cell, and tooLong and refused one and one for each pinned row");
    ok = false;
  }
  if (!ok) {
    discardPort(port);
    return nullptr;
  }
  if (port->framing != Framing::kNone) port->merger = new Merger;
  port->family = static_cast<int>(family);
  port->rows = static_cast<uint8_t*>(rows);
  port->cursor = static_cast<int32_t*>(cursor);
  port->tooLong = static_cast<int32_t*>(tooLong);
  if (refusals && askForErrors(port)) port->refused = static_cast<int32_t*>(refused);
  port->pinned = static_cast<int32_t>(pinned);
  port->transient = static_cast<int32_t>(std::min<size_t>(rowBytes / kAddressRow, INT32_MAX)) - port->pinned;
  port->index.reset(port->pinned);
  if (!port->scatter.prepare() || !prepareSender(port)) {
    discardPort(port);
    Failure failure;
    failure.set(ENOMEM, "mmap");
    return throwFailure(env, failure);
  }
  return finishPort(port);
}

// A port that merges brings few handles and many bytes per call. Each is bounded, so that the other direction has its
// turn, and small beside the second-level cache.
constexpr int32_t kBytesPerFill = 256 * 1024;
constexpr int32_t kBytesPerCall = 512 * 1024;

// What came along with a message.
struct Ancillary {
  uint8_t trafficClass = 0;
  int32_t segmentSize = 0;
};

Ancillary readAncillary(msghdr* message) {
  Ancillary found;
  for (cmsghdr* at = CMSG_FIRSTHDR(message); at != nullptr; at = CMSG_NXTHDR(message, at)) {
    if (at->cmsg_level == SOL_IP && at->cmsg_type == IP_TOS) {
      found.trafficClass = *CMSG_DATA(at);
    } else if (at->cmsg_level == SOL_IPV6 && at->cmsg_type == IPV6_TCLASS) {
      int value;
      memcpy(&value, CMSG_DATA(at), sizeof value);
      found.trafficClass = static_cast<uint8_t>(value);
    } else if (at->cmsg_level == SOL_UDP && at->cmsg_type == UDP_GRO) {
      // An int here, but a u16 when sending.
      int value;
      memcpy(&value, CMSG_DATA(at), sizeof value);
      found.segmentSize = value;
    }
  }
  return found;
}

}  // namespace

UdpPort::~UdpPort() {
  freeSender(this);
  delete merger;
}

bool UdpPort::pin(int32_t row) {
  if (row < 0 || row >= pinned) return false;
  index.pin(row, AddressKey::fromRow(rows + static_cast<size_t>(row) * kAddressRow));
  return true;
}

bool UdpPort::unpin(int32_t row) {
  if (row < 0 || row >= pinned) return false;
  index.unpin(row);
  return true;
}

socklen_t UdpPort::nameOf(int32_t handle, sockaddr_in6* name) const {
  int32_t row = pool->peer[handle];
  if (row < 0 || row >= pinned + transient) return 0;
  return addressToSocket(rows + static_cast<size_t>(row) * kAddressRow, family, name);
}

void UdpPort::noteTooLong(int32_t handle, uint32_t datagram) {
  int32_t row = pool->peer[handle];
  if (row < 0 || row >= pinned) return;
  int32_t* shortest = tooLong + 1 + row;
  int32_t length = static_cast<int32_t>(datagram);
  if (*shortest == 0 || length < *shortest) *shortest = length;
  tooLong[0] = static_cast<int32_t>(static_cast<uint32_t>(tooLong[0]) + 1);
}

namespace {

constexpr int kErrors = 16;
// Messages of errors per call; those behind them keep the descriptor in its state, and are read with the next.
constexpr int kErrorRounds = 8;

// Whether the machine that a datagram went to says that nobody listens. Where the ports are well known anybody could say so, but only
// who can send from the peer's own address is believed.
bool isRefusal(msghdr* message, const AddressKey& peer) {
  for (cmsghdr* at = CMSG_FIRSTHDR(message); at != nullptr; at = CMSG_NXTHDR(message, at)) {
    bool known = (at->cmsg_level == SOL_IP && at->cmsg_type == IP_RECVERR) ||
                 (at->cmsg_level == SOL_IPV6 && at->cmsg_type == IPV6_RECVERR);
    if (!known || at->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
    sock_extended_err error;
    memcpy(&error, CMSG_DATA(at), sizeof error);
    // Not one that was made here, about a route or a length.
    if (error.ee_errno != ECONNREFUSED || error.ee_origin == SO_EE_ORIGIN_LOCAL) continue;
    sockaddr_in6 offender = {};
    memcpy(&offender, CMSG_DATA(at) + sizeof error,
           std::min(sizeof offender, static_cast<size_t>(at->cmsg_len - CMSG_LEN(sizeof error))));
    if (AddressKey::fromSocket(offender).isSameHost(peer)) return true;
  }
  return false;
}

}  // namespace

void UdpPort::readErrors() {
  if (refused == nullptr) return;
  mmsghdr messages[kErrors];
  sockaddr_in6 names[kErrors];
  // The error, and the address of whoever told it.
  alignas(cmsghdr) uint8_t control[kErrors][CMSG_SPACE(sizeof(sock_extended_err) + sizeof(sockaddr_in6)) + 64];
  for (int round = 0; round < kErrorRounds; round++) {
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < kErrors; i++) {
      msghdr& header = messages[i].msg_hdr;
      header.msg_name = &names[i];
      header.msg_namelen = sizeof names[i];
      header.msg_control = control[i];
      header.msg_controllen = sizeof control[i];
    }
    int got = recvmmsg(fd, messages, kErrors, MSG_ERRQUEUE | MSG_DONTWAIT, nullptr);
    for (int i = 0; i < got; i++) {
      msghdr& header = messages[i].msg_hdr;
      if (header.msg_namelen < sizeof(sockaddr_in)) continue;
      // Where the datagram went.
      AddressKey peer = AddressKey::fromSocket(names[i]);
      if (!isRefusal(&header, peer)) continue;
      int32_t row = index.find(peer);
      if (row < 0) continue;
      refused[1 + row] = static_cast<int32_t>(static_cast<uint32_t>(refused[1 + row]) + 1);
      refused[0] = static_cast<int32_t>(static_cast<uint32_t>(refused[0]) + 1);
    }
    // A pending error may stand in front of the queue: it is over with this call.
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got == 0) return;
  }
}

void UdpPort::statistics() {
  // The socket's own memory figures (Linux 4.12); asked for here instead of with every message (SO_RXQ_OVFL).
  uint32_t info[16] = {};
  socklen_t length = sizeof info;
  constexpr size_t drops = 8;  // SK_MEMINFO_DROPS
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length) == 0 && length > drops * sizeof info[0]) {
    counters[kKernelDrops] = info[drops];
  }
}

void UdpPort::emit(int32_t handle, int32_t size, const AddressKey& from, int32_t row, uint8_t trafficClass,
                   double now, int32_t* n) {
  if (row < 0 && transient > 0) {
    // One fresh row per datagram, so that rows of packets still in flight stay as they were.
    int32_t next = *cursor >= 0 && *cursor < transient ? *cursor : 0;
    row = pinned + next;
    *cursor = next + 1 == transient ? 0 : next + 1;
    from.toRow(rows + static_cast<size_t>(row) * kAddressRow);
  }
  pool->length[handle] = size;
  pool->peer[handle] = row;
  pool->trafficClass[handle] = trafficClass;
  pool->arrived[pool->slot[handle]] = now;
  batch[(*n)++] = handle;
  countReceived(1, size, false);
}

// Hands on the datagrams of message i. False when `max` or memory ran out before the last; the rest stays.
bool UdpPort::deliver(int i, double now, int32_t max, int32_t* n, bool* starved) {
  msghdr& message = scatter.messages[i].msg_hdr;
  if (message.msg_flags & MSG_TRUNC) {
    count(kRxTruncated);
    scatter.giveBack(pool, i);
    return true;
  }
  if (*n >= max && merger == nullptr) return false;
  Ancillary ancillary = readAncillary(&message);
  int32_t length = scatter.length(i);
  int32_t size = ancillary.segmentSize > 0 && ancillary.segmentSize < length ? ancillary.segmentSize : length;
  uint32_t datagrams = length == 0 ? 1 : static_cast<uint32_t>((length + size - 1) / size);
  AddressKey from = AddressKey::fromSocket(scatter.names[i]);
  int32_t row = index.find(from);
  // Strangers are told apart by their messages alone.
  if (segment == 0) strangers = (strangers + 1) & 0xffffff;
  int32_t origin = row >= 0 ? row : -2 - strangers;

  if (size > kSmallRoom) {
    scatter.stash(pool, i);
  } else if (scatter.small[i] >= 0 && datagrams > 1) {
    // The first datagram may stay where it is; the others are taken from the stage.
    memcpy(scatter.stage(i), pool->packetArea(scatter.small[i]), static_cast<size_t>(std::min(length, kSmallRoom)));
  }
  for (; segment < datagrams; segment++) {
    int32_t start = static_cast<int32_t>(segment) * size;
    int32_t chunk = std::min(size, length - start);
    bool settled = segment == 0 && scatter.small[i] >= 0;
    const uint8_t* bytes = settled ? pool->packetArea(scatter.small[i]) : scatter.stage(i) + start;
    if (merger != nullptr && merger->join(bytes, static_cast<uint32_t>(chunk), origin, ancillary.trafficClass)) {
      countReceived(1, chunk, false);
      if (settled) scatter.giveBack(pool, i);
      continue;
    }
    if (*n >= max) return false;
    int32_t handle = -1;
    if (!settled) {
      handle = pool->allocate(chunk, account);
    } else if (pool->usedSmall[account] < pool->quotaSmall[account]) {
      handle = pool->describe(scatter.small[i], account);
    }
    if (handle < 0) {
      bool never = chunk > kLargeRoom ||
                   (chunk > kSmallRoom && (pool->largeSlots == 0 || pool->quotaLarge[account] <= 0));
      if (never) {
        count(kRxTruncated);
        continue;
      }
      *starved = true;
      return false;
    }
    if (settled) {
      scatter.small[i] = -1;
    } else {
      memcpy(pool->bytes(handle), bytes, static_cast<size_t>(chunk));
    }
    emit(handle, chunk, from, row, ancillary.trafficClass, now, n);
    if (merger != nullptr) merger->start(handle);
  }
  return true;
}

// How many messages to ask for at once, when there is room for as many handles.
int32_t UdpPort::wanted(int32_t room) const {
  int32_t messages = std::min((room + perMessage - 1) / perMessage, int32_t{Scatter::kMessages});
  if (merger == nullptr) return messages;
  // What the kernel has copied out is to be still in the cache when it is merged.
  return std::min(messages, std::max(1, kBytesPerFill / std::max(1, bytesPerMessage)));
}

int32_t UdpPort::receive(int32_t max) {
  if (merger == nullptr) return receiveBatch(max);
  merger->begin(pool, framing);
  int32_t n = receiveBatch(max);
  merger->finish();
  count(kRxSuperframes, merger->superframes);
  return n;
}

int32_t UdpPort::receiveBatch(int32_t max) {
  int32_t n = 0;
  int error = 0;
  int32_t failures = 0;
  bool starved = false;
  bool drained = false;
  int32_t bytes = 0;
  double now = 0;
  while (true) {
    if (scatter.waiting()) {
      if (now == 0) now = arrivalNow();
      int messages = scatter.count - scatter.at;
      int32_t before = n;
      while (scatter.waiting() && deliver(scatter.at, now, max, &n, &starved)) {
        scatter.at++;
        segment = 0;
      }
      if (scatter.waiting()) {
        scatter.stashRest(pool);
        break;
      }
      perMessage = std::max(1, (n - before) / messages);
    }
    // Only what found nothing may end in 0: the poller may be edge-triggered.
    if ((drained && n > 0) || n >= max) break;
    if (merger != nullptr && n > 0 && bytes >= kBytesPerCall) break;
    if (pool->roomSmall(account) == 0) {
      starved = true;
      break;
    }
    int32_t want = wanted(max - n);
    int got = scatter.fill(pool, fd, want, account, 0);
    if (got == -EAGAIN) {
      // Whoever woke this for an error may have been a send that took it away.
      readErrors();
      break;
    }
    if (got == -EINTR) continue;
    if (got == -ENOBUFS) {
      starved = true;
      break;
    }
    if (got < 0) {
      readErrors();
      // Errors of earlier sends (ICMP) are told to the next receive and are over then.
      count(kRxErrors);
      if (++failures < 16) continue;
      error = -got;
      break;
    }
    drained = got < want;
    int32_t brought = 0;
    for (int i = 0; i < got; i++) brought += scatter.length(i);
    bytesPerMessage = brought / got;
    bytes += brought;
  }
  if (drained && !scatter.waiting()) tellDrained();
  if (n > 0) return n;
  return error > 0 ? -error : starved ? -ENOBUFS : 0;
}

void defineUdp(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "udpOpen", udpOpen);
  defineFunction(env, exports, self, "udpPort", udpPort);
}
