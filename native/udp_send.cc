// Sending on UDP, in the order in which a batch meets it:
//
// 1. build: packets become messages. A run of packets of one peer, one DS field and one size (the last may be shorter)
//    is one UDP_SEGMENT message over their slots; a superframe is cut, with full checksums, into an arena and is one
//    UDP_SEGMENT message over that; anything else is a message of its own.
// 2. flush: the messages go out with sendmmsg.
// 3. What the kernel refuses as a segmented message goes out again plainly (sendPlainly); what it refuses otherwise is
//    dropped and counted; where it has no room everything stops, and the caller keeps the rest.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "socket_options.h"
#include "udp.h"

namespace {

constexpr int kMaxMessages = 64;
constexpr int kMaxVectors = 1024;
constexpr uint32_t kMaxSegmentsPerSend = 64;  // of every kernel since 4.18; newer ones take 128
constexpr uint32_t kMaxDatagram = 65507;
constexpr size_t kArena = 512 * 1024;
// Of a send that failed for another datagram's error.
constexpr int kRetries = 4;

struct Message {
  int32_t first;       // batch index of its first packet
  int32_t handles;     // packets that are done with when it is out; 0 for a superframe's earlier parts
  uint32_t datagrams;  // that it becomes on the wire
  uint32_t size;       // of each but the last
  uint32_t bytes;      // in all
  bool superframe;
  uint32_t from;  // a superframe's first segment in it
};

size_t putControl(uint8_t* at, int level, int type, const void* value, size_t length) {
  cmsghdr* header = reinterpret_cast<cmsghdr*>(at);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(length);
  memcpy(CMSG_DATA(header), value, length);
  return CMSG_SPACE(length);
}

}  // namespace

struct UdpSender {
  UdpPort* port;
  uint8_t* arena = nullptr;
  size_t arenaUsed = 0;
  int count = 0;
  int vectorCount = 0;
  // Batch index from which on nothing has been done yet.
  int32_t done = 0;
  bool fragmenting = false;
  Partial partial;

  mmsghdr headers[kMaxMessages];
  Message messages[kMaxMessages];
  sockaddr_in6 names[kMaxMessages];
  alignas(8) uint8_t control[kMaxMessages][64];
  size_t plainControl[kMaxMessages];  // bytes of control without UDP_SEGMENT
  iovec vectors[kMaxVectors];

  int32_t run(int32_t n);

 private:
  bool add(int32_t n, int32_t* at, uint32_t* segment);
  bool addSuperframe(const Superframe& frame, int32_t at, uint32_t* segment);
  bool addRun(int32_t n, int32_t at, int32_t* next);
  const uint8_t* wireBytes(int32_t handle);
  bool joinsRun(int32_t first, int32_t handle, const Message& run) const;
  void finish(const Message& message, socklen_t nameLength, int firstVector, uint8_t trafficClass);
  bool flush();
  bool isAnothers(int error);
  bool sendPlainly(int i, int segmentedError);
  void setFragmenting(bool may);
  void complete(const Message& message);
  void fail(const Message& message, int error);
  void tooLong(const Message& message, uint32_t datagram);
  void release(const Message& message);
  void stop(const Message& message, uint32_t datagramsOut);
};

bool prepareSender(UdpPort* port) {
  void* arena = mmap(nullptr, kArena, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED) return false;
  port->sender = new UdpSender;
  port->sender->port = port;
  port->sender->arena = static_cast<uint8_t*>(arena);
  return true;
}

void freeSender(UdpPort* port) {
  if (port->sender == nullptr) return;
  munmap(port->sender->arena, kArena);
  delete port->sender;
  port->sender = nullptr;
}

int32_t UdpPort::send(int32_t n) { return sender->run(n); }

namespace {

uint32_t datagramLength(const Pool* pool, int32_t handle) {
  return static_cast<uint32_t>(pool->length[handle]) + pool->prefixLength[handle];
}

}  // namespace

int32_t UdpSender::run(int32_t n) {
  Pool* pool = port->pool;
  done = 0;
  int32_t at = 0;
  uint32_t segment = pool->valid(port->batch[0]) ? partial.resume(pool, port->batch[0]) : 0;
  bool open = true;
  while (open && at < n) {
    // Where nothing more fits, or this packet cannot go with those before it, those go first.
    if (!add(n, &at, &segment)) open = flush();
  }
  if (open) flush();
  setFragmenting(false);
  return done;
}

// 1. Adds the packet at *at, or a run from it on, or the next part of a superframe, to the messages. False when what
// is built so far has to be flushed first.
bool UdpSender::add(int32_t n, int32_t* at, uint32_t* segment) {
  if (count == kMaxMessages || vectorCount == kMaxVectors) return false;
  Pool* pool = port->pool;
  int32_t handle = port->batch[*at];
  bool good = pool->valid(handle);
  bool superframe = good && pool->segmentSize[handle] > 0;
  Superframe frame;
  if (superframe) good = frame.parse(pool, handle);
  Counter why = kTxInvalid;
  if (good) {
    uint32_t longest = superframe ? pool->prefixLength[handle] + frame.segmentLength(0) : datagramLength(pool, handle);
    if (longest > kMaxDatagram) {
      good = false;
      why = kTxTooLong;
    }
  }
  if (!good) {
    // Drops happen in order: what stands before this packet may still have to stay.
    if (count > 0) return false;
    port->drop(handle, why);
    done = ++*at;
    *segment = 0;
    return true;
  }
  bool mayFragment = (pool->flags[handle] & kMayFragment) != 0;
  if (mayFragment != fragmenting) {
    if (count > 0) return false;
    setFragmenting(mayFragment);
  }
  // What was remembered of a send that stopped midway may be of another packet by now.
  if (!superframe || *segment >= frame.segments) *segment = 0;
  if (!superframe) return addRun(n, *at, at);
  if (!addSuperframe(frame, *at, segment)) return false;
  if (*segment == frame.segments || *segment == 0) {
    ++*at;
    *segment = 0;
  }
  return true;
}

// A part of as many segments as one send takes.
bool UdpSender::addSuperframe(const Superframe& frame, int32_t at, uint32_t* segment) {
  Pool* pool = port->pool;
  int32_t handle = port->batch[at];
  socklen_t nameLength = port->nameOf(handle, &names[count]);
  if (nameLength == 0) {
    if (count > 0) return false;
    port->drop(handle, kTxInvalid);
    done = at + 1;
    *segment = 0;
    return true;
  }
  uint32_t prefix = pool->prefixLength[handle];
  Message message{};
  message.first = at;
  message.superframe = true;
  message.from = *segment;
  message.size = prefix + frame.segmentLength(0);
  message.datagrams = 1;
  if (port->gso && !fragmenting) {
    message.datagrams = std::min({frame.segments - *segment, kMaxSegmentsPerSend, kMaxDatagram / message.size});
  }
  if (arenaUsed + size_t{message.datagrams} * message.size > kArena) return false;

  uint8_t* start = arena + arenaUsed;
  uint8_t* to = start;
  const uint8_t* prefixBytes = pool->bytes(handle) - prefix;
  const Segmenter segmenter(frame);
  for (uint32_t i = 0; i < message.datagrams; i++) {
    memcpy(to, prefixBytes, prefix);
    to += prefix + segmenter.write((*segment)++, to + prefix);
  }
  message.bytes = static_cast<uint32_t>(to - start);
  message.handles = *segment == frame.segments ? 1 : 0;
  arenaUsed += message.bytes;
  int vector = vectorCount;
  vectors[vectorCount++] = {start, message.bytes};
  finish(message, nameLength, vector, pool->trafficClass[handle]);
  return true;
}

// A packet, and those behind it that can leave in the same send.
bool UdpSender::addRun(int32_t n, int32_t at, int32_t* next) {
  Pool* pool = port->pool;
  int32_t handle = port->batch[at];
  if (arenaUsed + datagramLength(pool, handle) > kArena) return false;
  socklen_t nameLength = port->nameOf(handle, &names[count]);
  const uint8_t* bytes = nameLength > 0 ? wireBytes(handle) : nullptr;
  if (bytes == nullptr) {
    if (count > 0) return false;
    port->drop(handle, kTxInvalid);
    done = *next = at + 1;
    return true;
  }
  Message message{};
  message.first = at;
  message.handles = 1;
  message.datagrams = 1;
  message.size = message.bytes = datagramLength(pool, handle);
  int vector = vectorCount;
  vectors[vectorCount++] = {const_cast<uint8_t*>(bytes), message.bytes};
  for (int32_t i = at + 1; i < n && joinsRun(handle, port->batch[i], message); i++) {
    bytes = wireBytes(port->batch[i]);
    if (bytes == nullptr) break;
    uint32_t length = datagramLength(pool, port->batch[i]);
    vectors[vectorCount++] = {const_cast<uint8_t*>(bytes), length};
    message.bytes += length;
    message.handles++;
    message.datagrams++;
    if (length < message.size) break;  // only the last may be shorter
  }
  *next = at + message.handles;
  finish(message, nameLength, vector, pool->trafficClass[handle]);
  return true;
}

bool UdpSender::joinsRun(int32_t first, int32_t handle, const Message& run) const {
  const Pool* pool = port->pool;
  if (!port->gso || fragmenting || run.datagrams == kMaxSegmentsPerSend || vectorCount == kMaxVectors) return false;
  if (!pool->valid(handle) || pool->segmentSize[handle] > 0 || (pool->flags[handle] & kMayFragment) != 0) return false;
  if (pool->peer[handle] != pool->peer[first] || pool->trafficClass[handle] != pool->trafficClass[first]) return false;
  uint32_t length = datagramLength(pool, handle);
  return length > 0 && length <= run.size && run.bytes + length <= kMaxDatagram && arenaUsed + length <= kArena;
}

// A wire packet with its prefix and a complete checksum; in the arena when its bytes belong to others too. Null when
// its open checksum does not lie inside it.
const uint8_t* UdpSender::wireBytes(int32_t handle) {
  Pool* pool = port->pool;
  uint32_t prefix = pool->prefixLength[handle];
  uint8_t* copy = arena + arenaUsed;
  const uint8_t* bytes = withChecksum(pool, handle, copy + prefix);
  if (bytes == nullptr || bytes != copy + prefix) return bytes == nullptr ? nullptr : bytes - prefix;
  memcpy(copy, pool->bytes(handle) - prefix, prefix);
  arenaUsed += datagramLength(pool, handle);
  return copy;
}

void UdpSender::finish(const Message& message, socklen_t nameLength, int firstVector, uint8_t trafficClass) {
  msghdr& header = headers[count].msg_hdr;
  header.msg_name = &names[count];
  header.msg_namelen = nameLength;
  header.msg_iov = vectors + firstVector;
  header.msg_iovlen = static_cast<size_t>(vectorCount - firstVector);
  header.msg_flags = 0;
  header.msg_control = control[count];
  header.msg_controllen = sizeof control[count];
  size_t used = 0;
  // The DS field stands first, so that a plain send can leave out the rest.
  if (trafficClass != 0) {
    bool four = names[count].sin6_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&names[count].sin6_addr);
    int value = trafficClass;
    used += putControl(control[count], four ? SOL_IP : SOL_IPV6, four ? IP_TOS : IPV6_TCLASS, &value, sizeof value);
  }
  plainControl[count] = used;
  if (message.datagrams > 1) {
    uint16_t size = static_cast<uint16_t>(message.size);
    used += putControl(control[count] + used, SOL_UDP, UDP_SEGMENT, &size, sizeof size);
  }
  header.msg_controllen = used;
  if (used == 0) header.msg_control = nullptr;
  messages[count++] = message;
}

// Where a port asks for errors, one that is pending for an earlier datagram, perhaps to another peer, fails the next send,
// whatever that is, and is over then. What is really wrong with a datagram fails again.
bool UdpSender::isAnothers(int error) {
  if (port->refused == nullptr || error == EAGAIN || error == ENOBUFS) return false;
  port->readErrors();
  errno = error;
  return true;
}

// 2. Sends what is built. False when the kernel had no room for all of it.
bool UdpSender::flush() {
  bool open = true;
  int retries = kRetries;
  for (int i = 0; i < count && open;) {
    int sent = sendmmsg(port->fd, headers + i, static_cast<unsigned>(count - i), MSG_DONTWAIT | MSG_NOSIGNAL);
    int error = errno;
    if (sent > 0) retries = kRetries;
    for (; sent > 0; sent--) complete(messages[i++]);
    if (sent == 0 || error == EINTR) continue;
    if (isAnothers(error) && retries-- > 0) continue;
    const Message& message = messages[i];
    if (error == EAGAIN || error == ENOBUFS) {
      stop(message, 0);
      open = false;
    } else if (message.datagrams > 1 && (error == EIO || error == EINVAL || error == EMSGSIZE)) {
      open = sendPlainly(i++, error);
    } else {
      fail(messages[i++], error);
    }
  }
  count = 0;
  vectorCount = 0;
  arenaUsed = 0;
  return open;
}

// 3. The same datagrams one by one. False when the kernel had no room for all of them.
bool UdpSender::sendPlainly(int i, int segmentedError) {
  const Message& message = messages[i];
  port->count(kGsoFallbacks);
  msghdr header = headers[i].msg_hdr;
  header.msg_controllen = plainControl[i];
  if (plainControl[i] == 0) header.msg_control = nullptr;
  uint8_t* at = static_cast<uint8_t*>(headers[i].msg_hdr.msg_iov[0].iov_base);
  uint32_t left = message.bytes;
  for (uint32_t k = 0; k < message.datagrams; k++) {
    iovec vector = {at, std::min(message.size, left)};
    if (!message.superframe) vector = headers[i].msg_hdr.msg_iov[k];
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    ssize_t sent;
    int retries = kRetries;
    do {
      sent = sendmsg(port->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && (errno == EINTR || (isAnothers(errno) && retries-- > 0)));
    if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
      stop(message, k);
      return false;
    }
    if (sent < 0) {
      port->count(counterOfSendError(errno));
      if (errno == EMSGSIZE) tooLong(message, static_cast<uint32_t>(vector.iov_len));
    } else {
      port->count(kTxPackets);
      port->count(kTxBytes, static_cast<double>(vector.iov_len));
      // The full-sized first one fits the path, so it was the segmenting that failed, and will again (a route
      // through xfrm, an interface without checksum offload before Linux 6.11). A path that is merely too narrow
      // gives EMSGSIZE, or EINVAL, for this datagram too.
      if (k == 0 && segmentedError != EMSGSIZE) port->gso = false;
    }
    at += vector.iov_len;
    left -= static_cast<uint32_t>(vector.iov_len);
  }
  release(message);
  return true;
}

void UdpSender::setFragmenting(bool may) {
  if (may == fragmenting) return;
  fragmenting = may;
  int six = may ? IPV6_PMTUDISC_DONT : IPV6_PMTUDISC_PROBE;
  int four = may ? IP_PMTUDISC_DONT : IP_PMTUDISC_PROBE;
  if (port->family == 6) setsockopt(port->fd, SOL_IPV6, IPV6_MTU_DISCOVER, &six, sizeof six);
  // Also on a socket of family 6: it may be dual. Where it is not, nothing is lost.
  setsockopt(port->fd, SOL_IP, IP_MTU_DISCOVER, &four, sizeof four);
}

void UdpSender::complete(const Message& message) {
  port->count(kTxPackets, message.datagrams);
  port->count(kTxBytes, message.bytes);
  if (message.superframe && message.handles > 0) port->count(kTxSuperframes);
  release(message);
}

void UdpSender::fail(const Message& message, int error) {
  port->count(counterOfSendError(error), message.datagrams);
  if (error == EMSGSIZE) tooLong(message, message.size);
  release(message);
}

// What may be fragmented is refused for other reasons than the path.
void UdpSender::tooLong(const Message& message, uint32_t datagram) {
  if (!fragmenting) port->noteTooLong(port->batch[message.first], datagram);
}

void UdpSender::release(const Message& message) {
  for (int32_t i = 0; i < message.handles; i++) port->pool->freeOnce(port->batch[message.first + i]);
  done = message.first + message.handles;
}

// The kernel had no room after `datagramsOut` of a message.
void UdpSender::stop(const Message& message, uint32_t datagramsOut) {
  port->count(kTxAgain);
  if (message.superframe) {
    uint32_t from = message.from + datagramsOut;
    if (from > 0) partial.remember(port->pool, port->batch[message.first], from);
    return;
  }
  Message out = message;
  out.handles = static_cast<int32_t>(datagramsOut);
  release(out);
}
