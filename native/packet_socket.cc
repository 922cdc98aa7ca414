// AF_PACKET sockets: whole Ethernet frames of an interface, in batches, with the virtio header that keeps superframes
// and open checksums as they are.
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "netns.h"
#include "port.h"
#include "scatter.h"
#include "socket_options.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

namespace {

struct PacketRequest {
  char name[IFNAMSIZ];
  bool vnetHeader;
  bool outgoing;
  bool promiscuous;
  int buffer;
  int index;
};

// Packet sockets have the header without its last field.
constexpr int kVnetHeader = 10;

// The first step that failed, or null. The socket is bound last: until then it receives nothing.
const char* configure(int fd, PacketRequest* request) {
  ifreq interface{};
  memcpy(interface.ifr_name, request->name, IFNAMSIZ);
  if (ioctl(fd, SIOCGIFINDEX, &interface) < 0) return "ioctl(SIOCGIFINDEX)";
  request->index = interface.ifr_ifindex;
  setBuffers(fd, request->buffer);
  request->vnetHeader = request->vnetHeader && setInt(fd, SOL_PACKET, PACKET_VNET_HDR, 1);
  // The kernel takes VLAN tags out of frames; they come here, and are put back.
  if (!setInt(fd, SOL_PACKET, PACKET_AUXDATA, 1)) return "setsockopt(PACKET_AUXDATA)";
  if (!request->outgoing && !setInt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)) {
    return "setsockopt(PACKET_IGNORE_OUTGOING)";
  }
  if (request->promiscuous) {
    packet_mreq membership{};
    membership.mr_ifindex = request->index;
    membership.mr_type = PACKET_MR_PROMISC;
    if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) < 0) {
      return "setsockopt(PACKET_ADD_MEMBERSHIP)";
    }
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = request->index;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return "bind";
  return nullptr;
}

int openPacket(void* argument, Failure* failure) {
  PacketRequest* request = static_cast<PacketRequest*>(argument);
  // Protocol 0: nothing arrives from other interfaces before the bind.
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failure->set(errno, "socket(AF_PACKET)", request->name);
  const char* failed = configure(fd, request);
  if (failed == nullptr) return fd;
  failure->set(errno, failed, request->name);
  close(fd);
  return -1;
}

napi_value packetOpen(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  napi_value options = call.values[0];
  PacketRequest request{};
  int64_t buffer;
  char name[64];
  char netns[kNamespacePath];
  if (!fieldString(env, options, "interface", name, sizeof name)) return nullptr;
  if (!fieldBoolean(env, options, "vnetHeader", &request.vnetHeader)) return nullptr;
  if (!fieldBoolean(env, options, "outgoing", &request.outgoing)) return nullptr;
  if (!fieldBoolean(env, options, "promiscuous", &request.promiscuous)) return nullptr;
  if (!fieldInteger(env, options, "buffer", 0, INT32_MAX / 2, &buffer)) return nullptr;
  if (!fieldString(env, options, "netns", netns, sizeof netns)) return nullptr;
  Failure failure;
  if (strlen(name) >= IFNAMSIZ) {
    failure.set(ENAMETOOLONG, "packetOpen", name);
    return throwFailure(env, failure);
  }
  memcpy(request.name, name, strlen(name));
  request.buffer = static_cast<int>(buffer);
  int fd = inNamespace(netns, openPacket, &request, &failure);
  if (fd < 0) return throwFailure(env, failure);
  descriptorOpened(call.self, fd);
  napi_value result;
  napi_create_object(env, &result);
  setInteger(env, result, "fd", fd);
  setInteger(env, result, "index", request.index);
  setInteger(env, result, "vnetHeader", request.vnetHeader ? kVnetHeader : 0);
  return result;
}

// ── The port

constexpr int kMaxMessages = 64;
constexpr size_t kArena = 512 * 1024;
// Superframes land in large slots without a copy as long as there are this many; the rest pass through the stage.
constexpr int32_t kLargeFirst = 8;
// A wake-up brings one or two superframes or acknowledgements at the pace of TCP: the first call asks for no more than
// this, and is followed by full ones when as many came and none was a superframe.
constexpr int32_t kFew = kLargeFirst;
// One receive brings no more: what the kernel copied out is still in the second-level cache when it is sent.
constexpr double kReceiveBytes = 512 * 1024;

struct PacketMessage {
  int32_t first;     // batch index
  bool ends;         // the packet is done with when this is out
  bool whole;        // a superframe in one piece
  uint32_t segment;  // of a superframe that is cut
  uint32_t packets;
  double bytes;
};

struct PacketPort final : Port {
  int layer = 2;
  uint32_t offloads = 0;
  Scatter scatter;
  uint8_t* arena = nullptr;

  ~PacketPort() override {
    if (arena != nullptr) munmap(arena, kArena);
  }

  int32_t receive(int32_t max) override;
  int32_t send(int32_t n) override;
  void statistics() override;

 private:
  bool deliver(int i, double now, int32_t max, int32_t* n, bool* starved);
  int32_t settle(int i, int32_t length, bool* starved);
  void applyAuxiliary(int i, VirtioHeader* virtio, int32_t slot, int32_t* offset, int32_t* length);

  bool add(int32_t* at, uint32_t* segment);
  bool addSegments(int32_t at, const Superframe& frame, uint32_t* segment);
  void push(const PacketMessage& message, const VirtioHeader& virtio, const uint8_t* bytes, size_t length);
  bool flush(int32_t* at, uint32_t* segment);
  void release(const PacketMessage& message);

  // The messages of one sendmmsg.
  mmsghdr headers_[kMaxMessages];
  iovec vectors_[kMaxMessages][2];
  VirtioHeader virtio_[kMaxMessages];
  PacketMessage messages_[kMaxMessages];
  int count_ = 0;
  size_t arenaUsed_ = 0;
  int32_t done_ = 0;
  // Batch index of a superframe that the kernel refused whole.
  int32_t refused_ = -1;
  Partial partial_;
};

// Puts what the kernel tells beside the frame back into it: VLAN tags, which go behind the addresses into the headroom,
// and without a virtio header the state of the checksum.
void PacketPort::applyAuxiliary(int i, VirtioHeader* virtio, int32_t slot, int32_t* offset, int32_t* length) {
  msghdr& message = scatter.messages[i].msg_hdr;
  tpacket_auxdata data{};
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
    if (at->cmsg_level == SOL_PACKET && at->cmsg_type == PACKET_AUXDATA) memcpy(&data, CMSG_DATA(at), sizeof data);
  }
  uint8_t* frame = pool->packetArea(slot);
  if ((data.tp_status & TP_STATUS_CSUM_VALID) != 0) virtio->flags |= kVirtioDataValid;
  if (scatter.headerBytes == 0 && (data.tp_status & TP_STATUS_CSUMNOTREADY) != 0) {
    uint32_t size = static_cast<uint32_t>(*length);
    Transport transport;
    if (transport.find(frame, size, ethernetHeaderLength(frame, size)) &&
        (transport.protocol == IPPROTO_TCP || transport.protocol == IPPROTO_UDP)) {
      virtio->flags |= kVirtioNeedsChecksum;
      virtio->checksumStart = static_cast<uint16_t>(transport.offset);
      virtio->checksumOffset = transport.protocol == IPPROTO_TCP ? 16 : 6;
    }
  }
  if ((data.tp_status & TP_STATUS_VLAN_VALID) == 0 || *length < 14) return;
  uint16_t protocol = (data.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? data.tp_vlan_tpid : uint16_t{ETH_P_8021Q};
  uint8_t* start = frame - 4;
  memmove(start, frame, 12);
  start[12] = static_cast<uint8_t>(protocol >> 8);
  start[13] = static_cast<uint8_t>(protocol);
  start[14] = static_cast<uint8_t>(data.tp_vlan_tci >> 8);
  start[15] = static_cast<uint8_t>(data.tp_vlan_tci);
  if ((virtio->flags & kVirtioNeedsChecksum) != 0) {
    virtio->checksumStart = static_cast<uint16_t>(virtio->checksumStart + 4);
  }
  *offset -= 4;
  *length += 4;
}

// The raw slot in which message i lies whole; -1 when there is none yet (*starved) or never will be one.
int32_t PacketPort::settle(int i, int32_t length, bool* starved) {
  bool fits = length <= kSmallRoom;
  if (scatter.small[i] >= 0 && fits && pool->usedSmall[account] < pool->quotaSmall[account]) {
    int32_t slot = scatter.small[i];
    scatter.small[i] = -1;
    scatter.giveBack(pool, i);
    return slot;
  }
  if (scatter.large[i] >= 0 && !fits && pool->usedLarge[account] < pool->quotaLarge[account]) {
    int32_t slot = scatter.large[i];
    memcpy(pool->packetArea(slot), pool->packetArea(scatter.small[i]), kSmallRoom);
    scatter.large[i] = -1;
    scatter.giveBack(pool, i);
    return slot;
  }
  scatter.stash(pool, i);
  int32_t slot = -1;
  if (fits ? pool->roomSmall(account) > 0 : pool->roomLarge(account) > 0) {
    slot = fits ? pool->takeSmall() : pool->takeLarge();
  }
  if (slot < 0) {
    *starved = fits || (length <= kLargeRoom && pool->largeSlots > 0 && pool->quotaLarge[account] > 0);
    return -1;
  }
  memcpy(pool->packetArea(slot), scatter.stage(i), static_cast<size_t>(length));
  return slot;
}

// Hands on message i. False when `max` or memory ran out; it stays.
bool PacketPort::deliver(int i, double now, int32_t max, int32_t* n, bool* starved) {
  int32_t length = scatter.length(i);
  if ((scatter.messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0 || length > kLargeRoom) {
    count(kRxTruncated);
    scatter.giveBack(pool, i);
    return true;
  }
  if (length <= 0) {
    count(kRxInvalid);
    scatter.giveBack(pool, i);
    return true;
  }
  if (*n >= max) return false;
  int32_t slot = settle(i, length, starved);
  if (slot < 0) {
    if (*starved) return false;
    count(kRxTruncated);
    return true;
  }
  VirtioHeader virtio{};
  if (scatter.headerBytes > 0) virtio = scatter.headers[i];
  int32_t offset = static_cast<int32_t>(pool->slotStart(slot)) + kHeadroom;
  applyAuxiliary(i, &virtio, slot, &offset, &length);
  FrameInfo frame;
  int32_t handle = -1;
  if (!frame.read(virtio, pool->slab + offset, static_cast<uint32_t>(length), layer)) {
    count(kRxInvalid);
  } else if ((handle = pool->describe(slot, account)) < 0) {
    count(kRxNoMemory);
  }
  if (handle < 0) {
    pool->giveBack(slot);
    return true;
  }
  frame.store(pool, handle);
  pool->offset[handle] = offset;
  pool->length[handle] = length;
  pool->layer[handle] = static_cast<uint8_t>(layer);
  pool->arrived[pool->slot[handle]] = now;
  batch[(*n)++] = handle;
  countReceived(frame.segments, frame.wireBytes, frame.segmentSize > 0);
  return true;
}

int32_t PacketPort::receive(int32_t max) {
  int32_t n = 0;
  int error = 0;
  int32_t failures = 0;
  bool starved = false;
  bool drained = false;
  double now = 0;
  double bytesBefore = counters[kRxBytes];
  double superframesBefore = counters[kRxSuperframes];
  while (true) {
    if (scatter.waiting() && now == 0) now = arrivalNow();
    while (scatter.waiting() && deliver(scatter.at, now, max, &n, &starved)) scatter.at++;
    if (scatter.waiting()) {
      scatter.stashRest(pool);
      break;
    }
    // Only what found nothing may end in 0: the poller may be edge-triggered.
    if ((drained && n > 0) || n >= max) break;
    if (n > 0 && counters[kRxBytes] - bytesBefore >= kReceiveBytes) break;
    bool few = n == 0 || counters[kRxSuperframes] > superframesBefore;
    int32_t want = std::min(max - n, few ? kFew : int32_t{Scatter::kMessages});
    int got = scatter.fill(pool, fd, want, account, kLargeFirst);
    if (got == -EAGAIN) break;
    if (got == -EINTR) continue;
    if (got == -ENOBUFS) {
      starved = true;
      break;
    }
    if (got < 0) {
      // A frame that no virtio header can describe (EINVAL) is lost; an interface that went down tells it once.
      count(kRxErrors);
      if (got == -EINVAL && ++failures < 16) continue;
      error = -got;
      break;
    }
    drained = got < want;
  }
  if (drained && !scatter.waiting()) tellDrained();
  if (n > 0) return n;
  return error > 0 ? -error : starved ? -ENOBUFS : 0;
}

void PacketPort::push(const PacketMessage& message, const VirtioHeader& virtio, const uint8_t* bytes, size_t length) {
  int i = count_++;
  messages_[i] = message;
  virtio_[i] = virtio;
  vectors_[i][0] = {&virtio_[i], scatter.headerBytes};
  vectors_[i][1] = {const_cast<uint8_t*>(bytes), length};
  headers_[i].msg_hdr = {};
  headers_[i].msg_hdr.msg_iov = scatter.headerBytes > 0 ? vectors_[i] : vectors_[i] + 1;
  headers_[i].msg_hdr.msg_iovlen = scatter.headerBytes > 0 ? 2 : 1;
}

// Adds the packet at *at, or as many of its segments as fit, to the messages. False when what is built so far has to
// be flushed first.
bool PacketPort::add(int32_t* at, uint32_t* segment) {
  if (count_ == kMaxMessages) return false;
  int32_t handle = batch[*at];
  bool good = pool->valid(handle);
  bool superframe = good && pool->segmentSize[handle] > 0;
  Superframe frame;
  if (superframe) good = frame.parse(pool, handle);
  if (good && superframe && *segment >= frame.segments) *segment = 0;
  if (good && !superframe) *segment = 0;

  bool whole = superframe && scatter.headerBytes > 0 && *segment == 0 && *at != refused_ &&
               pool->checksumStart[handle] >= 0 && (offloads & offloadBit(pool->gsoType[handle])) != 0;
  if (good && superframe && !whole) {
    if (!addSegments(*at, frame, segment)) return false;
    if (*segment < frame.segments) return true;
    ++*at;
    *segment = 0;
    return true;
  }

  const uint8_t* bytes = good ? pool->bytes(handle) : nullptr;
  VirtioHeader virtio{};
  if (good && scatter.headerBytes > 0) {
    virtio = virtioHeaderOf(pool, handle, superframe ? &frame : nullptr);
  } else if (good) {
    size_t length = static_cast<size_t>(pool->length[handle]);
    if (arenaUsed_ + length > kArena) return false;
    uint8_t* copy = arena + arenaUsed_;
    bytes = withChecksum(pool, handle, copy);
    if (bytes == copy) arenaUsed_ += length;
  }
  if (bytes == nullptr) {
    // Drops happen in order: what stands before this packet may still have to stay.
    if (count_ > 0) return false;
    drop(handle, kTxInvalid);
    done_ = ++*at;
    return true;
  }
  PacketMessage message{};
  message.first = *at;
  message.ends = true;
  message.whole = whole;
  message.packets = whole ? frame.segments : 1;
  message.bytes = whole ? frame.wireBytes() : pool->length[handle];
  push(message, virtio, bytes, static_cast<size_t>(pool->length[handle]));
  ++*at;
  return true;
}

bool PacketPort::addSegments(int32_t at, const Superframe& frame, uint32_t* segment) {
  const Segmenter segmenter(frame);
  while (*segment < frame.segments) {
    if (count_ == kMaxMessages || arenaUsed_ + frame.segmentLength(*segment) > kArena) return false;
    uint8_t* to = arena + arenaUsed_;
    uint32_t length = segmenter.write(*segment, to);
    arenaUsed_ += length;
    PacketMessage message{};
    message.first = at;
    message.segment = *segment;
    message.packets = 1;
    message.bytes = length;
    message.ends = ++*segment == frame.segments;
    push(message, VirtioHeader{}, to, length);
  }
  return true;
}

void PacketPort::release(const PacketMessage& message) {
  if (!message.ends) return;
  pool->freeOnce(batch[message.first]);
  done_ = message.first + 1;
}

// Sends what is built. False when the kernel had no room. After a superframe that it refuses whole, *at goes back to
// that, to be cut.
bool PacketPort::flush(int32_t* at, uint32_t* segment) {
  bool open = true;
  for (int i = 0; i < count_ && open;) {
    int sent = sendmmsg(fd, headers_ + i, static_cast<unsigned>(count_ - i), MSG_DONTWAIT);
    int error = errno;
    for (; sent > 0; sent--, i++) {
      count(kTxPackets, messages_[i].packets);
      count(kTxBytes, messages_[i].bytes);
      if (messages_[i].whole) count(kTxSuperframes);
      release(messages_[i]);
    }
    if (sent == 0 || error == EINTR) continue;
    const PacketMessage& message = messages_[i];
    if (error == EAGAIN || error == ENOBUFS) {
      count(kTxAgain);
      if (message.segment > 0) partial_.remember(pool, batch[message.first], message.segment);
      open = false;
    } else if (message.whole && error == EINVAL) {
      count(kGsoFallbacks);
      *at = refused_ = message.first;
      *segment = 0;
      break;
    } else {
      count(counterOfSendError(error), message.packets);
      release(messages_[i++]);
    }
  }
  count_ = 0;
  arenaUsed_ = 0;
  return open;
}

int32_t PacketPort::send(int32_t n) {
  done_ = 0;
  refused_ = -1;
  int32_t at = 0;
  uint32_t segment = pool->valid(batch[0]) ? partial_.resume(pool, batch[0]) : 0;
  bool open = true;
  while (open && (at < n || count_ > 0)) {
    if (at == n || !add(&at, &segment)) open = flush(&at, &segment);
  }
  return done_;
}

void PacketPort::statistics() {
  // Reading resets the kernel's figures.
  tpacket_stats found{};
  socklen_t length = sizeof found;
  if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &found, &length) == 0) count(kKernelDrops, found.tp_drops);
}

napi_value packetPort(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  napi_value options = call.values[2];
  PacketPort* port = new PacketPort;
  int64_t layer;
  int64_t vnetHeader;
  int64_t offloads;
  if (!preparePort(port, call.self, call.values[0], call.values[1], options) ||
      !fieldInteger(env, options, "layer", 2, 3, &layer) ||
      !fieldInteger(env, options, "vnetHeader", 0, 12, &vnetHeader) ||
      !fieldInteger(env, options, "offloads", 0, 15, &offloads)) {
    discardPort(port);
    return nullptr;
  }
  if (vnetHeader != 0 && vnetHeader != kVnetHeader) {
    discardPort(port);
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "vnetHeader must be 0 or 10");
    return nullptr;
  }
  port->layer = static_cast<int>(layer);
  port->offloads = static_cast<uint32_t>(offloads);
  port->scatter.headerBytes = static_cast<size_t>(vnetHeader);
  port->scatter.named = false;
  void* arena = mmap(nullptr, kArena, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena != MAP_FAILED) port->arena = static_cast<uint8_t*>(arena);
  if (port->arena == nullptr || !port->scatter.prepare()) {
    discardPort(port);
    Failure failure;
    failure.set(ENOMEM, "mmap");
    return throwFailure(env, failure);
  }
  return finishPort(port);
}

}  // namespace

void definePacketSocket(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "packetOpen", packetOpen);
  defineFunction(env, exports, self, "packetPort", packetPort);
}
