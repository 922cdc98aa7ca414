// TUN and TAP devices: one read or write per frame, with the virtio header in front that makes superframes possible.
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "arguments.h"
#include "netns.h"
#include "outgoing.h"
#include "port.h"
#include "tun_drops.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace {

// Bits of TunOffload in src/native/binding.ts.
constexpr uint32_t kOffloadChecksum = 1;
constexpr uint32_t kOffloadTso4 = 2;
constexpr uint32_t kOffloadTso6 = 4;
constexpr uint32_t kOffloadUso = 8;

struct TunRequest {
  char name[IFNAMSIZ];
  bool tap;
  bool offload;
  bool multiQueue;
  bool exclusive;
  int vnetHeader;
  uint32_t offloads;
  int index;
};

// What this kernel can do is tried, not looked up: 6.2 brought USO, and containers may refuse any of it.
uint32_t negotiateOffloads(int fd) {
  constexpr unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  constexpr uint32_t tsoBits = kOffloadChecksum | kOffloadTso4 | kOffloadTso6;
  if (ioctl(fd, TUNSETOFFLOAD, tso | TUN_F_USO4 | TUN_F_USO6) == 0) return tsoBits | kOffloadUso;
  if (ioctl(fd, TUNSETOFFLOAD, tso) == 0) return tsoBits;
  if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM) == 0) return kOffloadChecksum;
  return 0;
}

// 12 bytes as virtio 1 has it, else the old 10.
int negotiateHeader(int fd) {
  for (int size : {12, 10}) {
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) == 0) return size;
  }
  int size = 0;
  return ioctl(fd, TUNGETVNETHDRSZ, &size) == 0 && (size == 10 || size == 12) ? size : 10;
}

// Whether there is an interface of this name that is neither TUN nor TAP. The kernel answers those and busy ones alike, with
// EBUSY where IFF_TUN_EXCL is set.
bool isOfOtherKind(const char* name) {
  int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  ifreq wanted{};
  memcpy(wanted.ifr_name, name, IFNAMSIZ);
  bool exists = ioctl(probe, SIOCGIFINDEX, &wanted) == 0;
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  wanted.ifr_data = reinterpret_cast<char*>(&driver);
  bool ours = ioctl(probe, SIOCETHTOOL, &wanted) == 0 && strcmp(driver.driver, "tun") == 0;
  close(probe);
  return exists && !ours;
}

int openTun(void* argument, Failure* failure) {
  TunRequest* request = static_cast<TunRequest*>(argument);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return failure->set(errno, "open", "/dev/net/tun");

  unsigned features = 0;
  if (ioctl(fd, TUNGETFEATURES, &features) < 0) features = 0;
  bool header = request->offload && (features & IFF_VNET_HDR) != 0;
  ifreq wanted{};
  memcpy(wanted.ifr_name, request->name, IFNAMSIZ);
  int flags = (request->tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI;
  if (header) flags |= IFF_VNET_HDR;
  if (request->multiQueue) flags |= IFF_MULTI_QUEUE;
  if (request->exclusive) flags |= IFF_TUN_EXCL;
  wanted.ifr_flags = static_cast<short>(flags);
  if (ioctl(fd, TUNSETIFF, &wanted) < 0) {
    int error = errno;
    if ((error == EBUSY || error == EINVAL) && isOfOtherKind(request->name)) error = EEXIST;
    failure->set(error, "ioctl(TUNSETIFF)", request->name);
    close(fd);
    return -1;
  }
  memcpy(request->name, wanted.ifr_name, IFNAMSIZ);
  request->vnetHeader = header ? negotiateHeader(fd) : 0;
  request->offloads = header ? negotiateOffloads(fd) : 0;

  // The index, for netlink; asked while this thread is in the device's namespace.
  int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (probe < 0 || ioctl(probe, SIOCGIFINDEX, &wanted) < 0) {
    failure->set(errno, probe < 0 ? "socket" : "ioctl(SIOCGIFINDEX)", request->name);
    if (probe >= 0) close(probe);
    close(fd);
    return -1;
  }
  request->index = wanted.ifr_ifindex;
  close(probe);
  return fd;
}

napi_value tunOpen(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  napi_value options = call.values[0];
  TunRequest request{};
  char name[64];
  char mode[8];
  char netns[kNamespacePath];
  if (!fieldString(env, options, "name", name, sizeof name)) return nullptr;
  if (!fieldString(env, options, "mode", mode, sizeof mode)) return nullptr;
  if (!fieldBoolean(env, options, "offload", &request.offload)) return nullptr;
  if (!fieldBoolean(env, options, "multiQueue", &request.multiQueue)) return nullptr;
  if (!fieldBoolean(env, options, "exclusive", &request.exclusive)) return nullptr;
  if (!fieldString(env, options, "netns", netns, sizeof netns)) return nullptr;
  request.tap = strcmp(mode, "tap") == 0;
  Failure failure;
  if (!request.tap && strcmp(mode, "tun") != 0) {
    failure.set(EINVAL, "tunOpen", mode);
    return throwFailure(env, failure);
  }
  if (strlen(name) >= IFNAMSIZ) {
    failure.set(ENAMETOOLONG, "ioctl(TUNSETIFF)", name);
    return throwFailure(env, failure);
  }
  memcpy(request.name, name, strlen(name));

  int fd = inNamespace(netns, openTun, &request, &failure);
  if (fd < 0) return throwFailure(env, failure);
  descriptorOpened(call.self, fd);
  napi_value result;
  napi_create_object(env, &result);
  setInteger(env, result, "fd", fd);
  setString(env, result, "name", request.name);
  setInteger(env, result, "index", request.index);
  setInteger(env, result, "vnetHeader", request.vnetHeader);
  setInteger(env, result, "offloads", request.offloads);
  return result;
}

napi_value tunPersist(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  int64_t fd;
  bool persist;
  if (!readInteger(env, call.values[0], "fd", 0, INT32_MAX, &fd)) return nullptr;
  if (!readBoolean(env, call.values[1], "persist", &persist)) return nullptr;
  if (ioctl(static_cast<int>(fd), TUNSETPERSIST, persist ? 1UL : 0UL) < 0) {
    Failure failure;
    failure.set(errno, "ioctl(TUNSETPERSIST)");
    return throwFailure(env, failure);
  }
  return nullptr;
}

// Two descriptors: the frames that are written to one are read from the other, as if each were a TUN.
napi_value tunPair(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) {
    Failure failure;
    failure.set(errno, "socketpair");
    return throwFailure(env, failure);
  }
  napi_value result;
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++) {
    descriptorOpened(call.self, ends[i]);
    napi_set_element(env, result, i, makeInteger(env, ends[i]));
  }
  return result;
}

// ── The port

// Superframes are read until they are this many bytes: what one call brings should still be in the second-level cache
// when it is sent, and the other direction has its turn. A tunnel's CPU time per byte is 10 % less than without a bound,
// and 5 % less than with half of it (`npm run bench -- tunnel`).
constexpr int32_t kBytesPerCall = 256 * 1024;

// A frame is at most 64 KiB and an Ethernet header.
constexpr size_t kSpill = kLargeRoom;

struct TunPort final : Port {
  int layer = 3;
  size_t vnetHeader = 0;
  uint32_t offloads = 0;
  VirtioHeader header{};
  // Takes the rest of a frame that outgrew its small slot while no large one was to be had. The frame then waits
  // here, whole, until one is: nothing is lost, and small packets need no large slot.
  uint8_t* spill = nullptr;
  int32_t waiting = 0;
  // Frames that must be changed before they are written, but whose bytes belong to others too.
  uint8_t* scratch = nullptr;
  Partial partial;
  // Not null where the kernel takes superframes; and which of those made of wire packets it has not refused.
  Outgoing* outgoing = nullptr;
  uint32_t mergeable = 0;

  // See tun_drops.h; and what the device had dropped before.
  int deviceStatistics = -1;
  double dropsBefore = 0;

  ~TunPort() override {
    if (deviceStatistics >= 0) close(deviceStatistics);
    delete outgoing;
    free(spill);
    free(scratch);
  }

  int32_t receive(int32_t max) override;
  int32_t send(int32_t n) override;
  void statistics() override;

 private:
  bool deliver(int32_t slot, int32_t length, double now, int32_t* n);
  bool deliverWaiting(double now, int32_t* n, bool* starved);
  ssize_t writeFrame(VirtioHeader* header, const uint8_t* bytes, size_t length);
  bool takesWhole(int32_t handle) const;
  int sendWhole(int32_t handle, const Superframe* superframe);
  int sendSegments(int32_t handle, const Superframe& superframe, uint32_t from);
  int sendMerged(int32_t first);
};

// Gives the frame in a raw slot to JavaScript. False when it was nonsense, and the slot is free again.
bool TunPort::deliver(int32_t slot, int32_t length, double now, int32_t* n) {
  FrameInfo frame;
  if (!frame.read(header, pool->packetArea(slot), static_cast<uint32_t>(length), layer)) {
    count(kRxInvalid);
    pool->giveBack(slot);
    return false;
  }
  int32_t handle = pool->describe(slot, account);
  if (handle < 0) {
    count(kRxNoMemory);
    pool->giveBack(slot);
    return false;
  }
  frame.store(pool, handle);
  pool->length[handle] = length;
  pool->layer[handle] = static_cast<uint8_t>(layer);
  pool->arrived[pool->slot[handle]] = now;
  batch[(*n)++] = handle;
  countReceived(frame.segments, frame.wireBytes, frame.segmentSize > 0);
  return true;
}

bool TunPort::deliverWaiting(double now, int32_t* n, bool* starved) {
  if (pool->roomLarge(account) == 0) {
    if (pool->largeSlots > 0 && pool->quotaLarge[account] > 0) {
      *starved = true;
      return false;
    }
    // No large slot will ever be had: this network was not made for such frames.
    waiting = 0;
    count(kRxTruncated);
    return true;
  }
  int32_t slot = pool->takeLarge();
  if (slot < 0) {
    *starved = true;
    return false;
  }
  memcpy(pool->packetArea(slot), spill, static_cast<size_t>(waiting));
  int32_t length = waiting;
  waiting = 0;
  deliver(slot, length, now, n);
  return true;
}

int32_t TunPort::receive(int32_t max) {
  int32_t n = 0;
  double now = 0;
  bool starved = false;
  if (waiting > 0) {
    now = arrivalNow();
    if (!deliverWaiting(now, &n, &starved)) return -ENOBUFS;
  }
  int32_t bytes = 0;
  while (n < max && bytes < kBytesPerCall) {
    if (pool->roomSmall(account) == 0) {
      starved = true;
      break;
    }
    int32_t small = pool->takeSmall();
    if (small < 0) {
      starved = true;
      break;
    }
    int32_t large = pool->roomLarge(account) > 0 ? pool->takeLarge() : -1;
    uint8_t* area = pool->packetArea(small);
    uint8_t* rest = large >= 0 ? pool->packetArea(large) : spill;
    iovec vectors[3] = {
        {&header, vnetHeader},
        {area, static_cast<size_t>(kSmallRoom)},
        {rest + kSmallRoom, kSpill - kSmallRoom},
    };
    ssize_t got;
    do {
      got = vnetHeader > 0 ? readv(fd, vectors, 3) : readv(fd, vectors + 1, 2);
    } while (got < 0 && errno == EINTR);
    int error = errno;
    if (got >= 0 && now == 0) now = arrivalNow();
    ssize_t length = got - static_cast<ssize_t>(vnetHeader);
    if (got > 0) bytes += static_cast<int32_t>(got);

    if (got > 0 && length <= kSmallRoom) {
      if (large >= 0) pool->giveBack(large);
      if (length > 0) {
        deliver(small, static_cast<int32_t>(length), now, &n);
      } else {
        pool->giveBack(small);
        count(kRxInvalid);
      }
      continue;
    }
    if (got > 0) memcpy(rest, area, kSmallRoom);
    pool->giveBack(small);
    if (got > 0 && large >= 0) {
      deliver(large, static_cast<int32_t>(length), now, &n);
      continue;
    }
    if (large >= 0) pool->giveBack(large);
    if (got > 0) {
      waiting = static_cast<int32_t>(length);
      if (!deliverWaiting(now, &n, &starved)) break;
      continue;
    }
    if (got < 0 && error == EAGAIN) {
      tellDrained();
      return n;
    }
    if (got < 0) count(kRxErrors);
    return n > 0 ? n : got < 0 ? -error : 0;
  }
  return n > 0 ? n : starved ? -ENOBUFS : 0;
}

ssize_t TunPort::writeFrame(VirtioHeader* virtio, const uint8_t* bytes, size_t length) {
  iovec vectors[2] = {{virtio, vnetHeader}, {const_cast<uint8_t*>(bytes), length}};
  ssize_t wrote;
  do {
    wrote = vnetHeader > 0 ? writev(fd, vectors, 2) : writev(fd, vectors + 1, 1);
  } while (wrote < 0 && errno == EINTR);
  return wrote;
}

bool TunPort::takesWhole(int32_t handle) const {
  return vnetHeader > 0 && pool->checksumStart[handle] >= 0 &&
         (offloads & offloadBit(pool->gsoType[handle])) != 0;
}

// One write; 0 or errno. `superframe` is null for a wire packet.
int TunPort::sendWhole(int32_t handle, const Superframe* superframe) {
  VirtioHeader virtio{};
  const uint8_t* bytes = pool->bytes(handle);
  uint32_t length = static_cast<uint32_t>(pool->length[handle]);
  if (vnetHeader > 0) {
    virtio = virtioHeaderOf(pool, handle, superframe);
  } else {
    bytes = withChecksum(pool, handle, scratch);
    if (bytes == nullptr) return EINVAL;
  }
  return writeFrame(&virtio, bytes, length) < 0 ? errno : 0;
}

// 0 when all went out or were dropped and counted; EAGAIN when the kernel had no room for one of them.
int TunPort::sendSegments(int32_t handle, const Superframe& superframe, uint32_t from) {
  VirtioHeader plain{};
  const Segmenter segmenter(superframe);
  for (uint32_t i = from; i < superframe.segments; i++) {
    uint32_t length = segmenter.write(i, scratch);
    if (writeFrame(&plain, scratch, length) >= 0) {
      count(kTxPackets);
      count(kTxBytes, length);
      continue;
    }
    if (errno == EAGAIN || errno == ENOBUFS) {
      partial.remember(pool, handle, i);
      return EAGAIN;
    }
    count(counterOfSendError(errno));
  }
  return 0;
}

// The packets that batch[first] stands for in one write; 0, EAGAIN, or EINVAL when they have to go one by one.
int TunPort::sendMerged(int32_t first) {
  const Outgoing::Frame& frame = outgoing->frameAt(first);
  VirtioHeader virtio = frame.virtio;
  if (writeFrame(&virtio, frame.bytes, frame.length) >= 0) {
    count(kTxPackets, frame.segments);
    count(kTxBytes, frame.wireBytes);
    count(kTxSuperframes);
    outgoing->settle(first, true);
    return 0;
  }
  if (errno == EAGAIN || errno == ENOBUFS) return EAGAIN;
  if (errno == EINVAL) {
    // Linux 6.1.103, 6.6.44 and 6.10.3 refuse superframes with a short tail, and will refuse the next.
    count(kGsoFallbacks);
    mergeable &= ~offloadBit(frame.gsoType);
  }
  outgoing->settle(first, false);
  return EINVAL;
}

int32_t TunPort::send(int32_t n) {
  bool planned = outgoing != nullptr && outgoing->planned(n);
  if (planned) outgoing->plan(pool, batch, n, layer == 3 ? Framing::kIp : Framing::kEthernet, mergeable);
  for (int32_t done = 0; done < n; done++) {
    int32_t handle = batch[done];
    if (planned && outgoing->role(done) == Outgoing::Role::kFirst && sendMerged(done) == EAGAIN) {
      count(kTxAgain);
      outgoing->stopped(batch, done, n);
      return done;
    }
    if (planned && outgoing->role(done) == Outgoing::Role::kSent) {
      pool->freeOnce(handle);
      continue;
    }
    Superframe frame;
    bool superframe = pool->valid(handle) && pool->segmentSize[handle] > 0;
    if (!pool->valid(handle) || (superframe && !frame.parse(pool, handle))) {
      drop(handle, kTxInvalid);
      continue;
    }
    uint32_t from = partial.resume(pool, handle);
    int error = EINVAL;
    bool tried = !superframe || (from == 0 && takesWhole(handle));
    if (tried) error = sendWhole(handle, superframe ? &frame : nullptr);
    if (error == 0) {
      count(kTxPackets, superframe ? frame.segments : 1);
      count(kTxBytes, superframe ? frame.wireBytes() : pool->length[handle]);
      if (superframe) count(kTxSuperframes);
      pool->free(handle);
      continue;
    }
    if (superframe && error == EINVAL) {
      // Linux 6.1.103, 6.6.44 and 6.10.3 refuse good superframes; so may any kernel a form it does not know.
      if (tried) count(kGsoFallbacks);
      error = sendSegments(handle, frame, from);
      if (error == 0) {
        pool->free(handle);
        continue;
      }
    }
    if (error == EAGAIN || error == ENOBUFS) {
      count(kTxAgain);
      if (planned) outgoing->stopped(batch, done, n);
      return done;
    }
    drop(handle, counterOfSendError(error));
  }
  return n;
}

void TunPort::statistics() {
  double drops = deviceDrops(deviceStatistics, fd);
  if (drops >= dropsBefore) counters[kKernelDrops] = drops - dropsBefore;
}

napi_value tunPort(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  TunPort* port = new TunPort;
  int64_t layer;
  int64_t vnetHeader;
  int64_t offloads;
  napi_value options = call.values[2];
  if (!preparePort(port, call.self, call.values[0], call.values[1], options) ||
      !fieldInteger(env, options, "layer", 2, 3, &layer) ||
      !fieldInteger(env, options, "vnetHeader", 0, 12, &vnetHeader) ||
      !fieldInteger(env, options, "offloads", 0, 15, &offloads)) {
    discardPort(port);
    return nullptr;
  }
  if (vnetHeader != 0 && vnetHeader != 10 && vnetHeader != 12) {
    discardPort(port);
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "vnetHeader must be 0, 10 or 12");
    return nullptr;
  }
  port->layer = static_cast<int>(layer);
  port->vnetHeader = static_cast<size_t>(vnetHeader);
  port->offloads = static_cast<uint32_t>(offloads);
  port->spill = static_cast<uint8_t*>(malloc(kSpill));
  port->scratch = static_cast<uint8_t*>(malloc(kLargeSlot));
  if (port->spill == nullptr || port->scratch == nullptr) {
    discardPort(port);
    Failure failure;
    failure.set(ENOMEM, "malloc");
    return throwFailure(env, failure);
  }
  constexpr uint32_t superframes = kOffloadTso4 | kOffloadTso6 | kOffloadUso;
  port->mergeable = port->vnetHeader > 0 ? port->offloads & superframes : 0;
  if (port->mergeable != 0) {
    port->outgoing = new Outgoing;
    // More than it plans in a call it could not remember as sent ahead, and they would go out twice.
    port->batchLength = std::min(port->batchLength, Outgoing::kMost);
    if (!port->outgoing->prepare()) {
      discardPort(port);
      Failure failure;
      failure.set(ENOMEM, "mmap");
      return throwFailure(env, failure);
    }
  }
  port->deviceStatistics = openDeviceStatistics(port->fd);
  double before = deviceDrops(port->deviceStatistics, port->fd);
  if (before > 0) port->dropsBefore = before;
  return finishPort(port);
}

}  // namespace

void defineTun(napi_env env, napi_value exports, Environment* self) {
  defineFunction(env, exports, self, "tunOpen", tunOpen);
  defineFunction(env, exports, self, "tunPersist", tunPersist);
  defineFunction(env, exports, self, "tunPair", tunPair);
  defineFunction(env, exports, self, "tunPort", tunPort);
}
