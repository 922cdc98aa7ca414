/**
 * The contract with the native addon: file descriptors in, batches out, no policy. Everything that runs per
 * batch takes and returns integers; typed arrays are handed over once, when a pool or a port is made.
 *
 * Two kinds of failure. Set-up calls throw an Error with `code` (`'EPERM'`), `errno` (negative, as in Node's own
 * errors) and `syscall` (`'ioctl(TUNSETIFF)'`); arguments of the wrong type or range are a TypeError or RangeError.
 * Calls on the data path never throw: they return a count, or `-errno`.
 */

/**
 * The memory of one packet pool, shared by JavaScript and native code. `src/engine/pool.ts` lays it out and
 * documents every column; native code reads and writes it through pointers it keeps from `poolAttach`.
 */
export interface PoolMemory {
  /** All slots: `smallSlots` of `SMALL_SLOT` bytes, then `largeSlots` of `LARGE_SLOT` bytes. */
  slab: Uint8Array;
  smallSlots: number;
  largeSlots: number;
  /**
   * Distance between two generations of one descriptor, or 0. In debug builds a descriptor that is freed comes
   * back as `(handle + stride) % descriptors.length`, so that a stale handle names a row that is not live.
   */
  stride: number;

  /** Rows of `DESCRIPTOR_CELLS`; a handle is the number of a row's first cell. */
  descriptors: Int32Array;

  // Columns by handle: views of `descriptors` from the column's `DescriptorCell` on.
  slot: Int32Array;
  /** Absolute position of the first byte in `slab`. */
  offset: Int32Array;
  /** Bytes from `offset` on. A superframe's whole length. */
  length: Int32Array;
  /** Wire packets this handle stands for, at least 1. */
  segments: Int32Array;
  /** 0 datagram payload, 2 Ethernet frame, 3 IP packet. */
  layer: Int32Array;
  /** Where the IP header starts, relative to `offset`; 0 on layer 3. */
  l3Offset: Int32Array;
  /** Length of a constant prefix in front of every segment (NSH); 0 without. Lies directly before `offset`. */
  prefixLength: Int32Array;
  /** Payload bytes per segment (TCP MSS or UDP datagram payload); 0 for a wire packet. */
  segmentSize: Int32Array;
  /** virtio_net_hdr gso_type: 0 none, 1 TCPv4, 4 TCPv6, 5 UDP (USO); bit 0x80 = ECN. */
  gsoType: Int32Array;
  /** Relative to `offset`; -1 when the checksum is complete. */
  checksumStart: Int32Array;
  /** Relative to `checksumStart`. */
  checksumOffset: Int32Array;
  /** Index in the UDP port's address table; -1 without. */
  peer: Int32Array;
  /** The outer header's DS field (DSCP and ECN) as received, or to send with. */
  trafficClass: Int32Array;
  /** Bits of `PacketFlag`. */
  flags: Int32Array;
  /** 0 free, 1 live. */
  state: Int32Array;

  // Columns by slot.
  /** When its bytes came in: nanoseconds since the runtime's start. */
  arrived: Float64Array;
  references: Int32Array;
  /** The account that paid for the slot. */
  owner: Uint8Array;

  // Stacks: element 0 is the count, the elements from 1 on are the free ones, last in first out.
  freeDescriptors: Int32Array;
  freeSmall: Int32Array;
  freeLarge: Int32Array;

  // By account: how many slots a source of packets has out, and may have out.
  usedSmall: Int32Array;
  quotaSmall: Int32Array;
  usedLarge: Int32Array;
  quotaLarge: Int32Array;

  /** Wire packets and bytes of the last burst that was put or freed. */
  tally: Float64Array;
  /** What `segment` made: memory that native code knows, for to look an array up costs 35 ns. At most 2048 cells. */
  cut: Int32Array;
}

/** Cells of 32 bits in a descriptor: 64 bytes, a cache line. */
export const DESCRIPTOR_CELLS = 16;
/** Where in its row a column is. `native/pool.h` has the same numbers; the last cell is free. */
export const DescriptorCell = {
  slot: 0,
  offset: 1,
  length: 2,
  segments: 3,
  layer: 4,
  l3Offset: 5,
  prefixLength: 6,
  segmentSize: 7,
  gsoType: 8,
  checksumStart: 9,
  checksumOffset: 10,
  peer: 11,
  trafficClass: 12,
  flags: 13,
  state: 14,
} as const;

/** 33 cache lines: 2048 bytes apart, the first bytes of all packets would share two of the L1 cache's 64 sets. */
export const SMALL_SLOT = 2112;
export const LARGE_SLOT = 68 * 1024;
/** Free bytes in front of a fresh packet, so that encapsulation prepends in place. */
export const HEADROOM = 128;
/** The account that is charged when nobody else is: control messages, copies. */
export const COMMON_ACCOUNT = 0;

export const PacketFlag = {
  /** The checksum was verified (a GRO or vnet_hdr DATA_VALID promise). */
  ChecksumValid: 1,
  /** The outer datagram may be fragmented on the way (DF clear). */
  MayFragment: 2,
} as const;

/** Indices into a port's counters, a Float64Array of `PORT_COUNTERS` cells that native code adds to. */
export const PortCounter = {
  rxPackets: 0, // wire packets: a superframe counts its segments
  rxBytes: 1, // bytes of those packets as they would be on the wire
  rxBursts: 2, // receive calls that brought something
  rxSuperframes: 3,
  rxNoMemory: 4, // reads not made, or datagrams lost, because the account or the pool was exhausted
  rxTruncated: 5, // larger than any slot, or MSG_TRUNC
  rxInvalid: 6, // a vnet_hdr or length that makes no sense
  rxErrors: 7, // any other error of the system call
  txPackets: 8,
  txBytes: 9,
  txBursts: 10, // send calls
  txSuperframes: 11,
  txAgain: 12, // the kernel had no room; the packet stayed queued
  txTooLong: 13, // EMSGSIZE: dropped, and told in AddressTable.tooLong
  txUnreachable: 14, // ENETUNREACH, EHOSTUNREACH, ENETDOWN, EADDRNOTAVAIL: dropped
  txRefused: 15, // ECONNREFUSED: dropped
  txDown: 16, // EIO, the TUN is down: dropped
  txInvalid: 17, // EINVAL, EPERM and the rest: dropped
  gsoFallbacks: 18, // a segmented send failed and the same batch went out plainly
  kernelDrops: 19, // SO_MEMINFO, PACKET_STATISTICS, a TUN's full queue; as of the last `portStatistics`
} as const;
export const PORT_COUNTERS = 24;
/**
 * What lies in front of the IP packets that are merged into superframes. Of a superframe in datagrams (layer 0)
 * `offset` is where its IP header or Ethernet frame starts; an EtherIP header, or NSH in VXLAN-GPE or Geneve, lies directly
 * before it and is its prefix, the same in front of each of its segments.
 */
export const Coalesce = { none: 0, ip: 1, etherip: 2, ethernet: 3, gpe: 4, geneve: 5 } as const;
/**
 * A cell behind the counters: 1 when the last `receive` emptied the descriptor. A pending socket error may hide
 * packets from it: believe it only when the poller has told of none.
 */
export const RX_DRAINED = PORT_COUNTERS - 1;
/** Superframes that claim to be more are refused on arrival as rxInvalid (64 KiB at an MSS of 32). */
export const MAX_SEGMENTS = 2048;

export interface TunOptions {
  /** Exact name, a pattern such as `tun%d`, or '' for the kernel's choice. At most 15 bytes. */
  name: string;
  mode: 'tun' | 'tap';
  /** Ask for IFF_VNET_HDR and checksum, TSO and USO offload. What the kernel has is in the result. */
  offload: boolean;
  multiQueue: boolean;
  /**
   * Fail with EBUSY when the interface exists already (IFF_TUN_EXCL), instead of attaching to a persistent one. One that is
   * neither TUN nor TAP is EEXIST either way.
   */
  exclusive: boolean;
  /** Path of a network namespace (`/run/netns/x`, `/proc/PID/ns/net`) to open it in, or '' for this one. */
  netns: string;
}

export interface TunHandle {
  fd: number;
  name: string;
  index: number;
  /** Bytes of virtio header in front of each frame: 0, 10 or 12. */
  vnetHeader: number;
  /** Bits of `TunOffload` that the kernel accepted. */
  offloads: number;
}
export const TunOffload = { checksum: 1, tso4: 2, tso6: 4, uso: 8 } as const;

export interface UdpOptions {
  family: 4 | 6;
  /** Address to bind, 16 bytes (IPv4 in the first four), and its zone for link-local. */
  address: Uint8Array;
  scope: number;
  /** 0 for any. */
  port: number;
  /** A family 6 socket that takes IPv4 too. */
  dualStack: boolean;
  reuse: boolean;
  /** Bytes asked for each socket buffer (SO_*BUFFORCE, then SO_*BUF). */
  buffer: number;
  gso: boolean;
  gro: boolean;
  /** Name of an interface to bind to, or ''. */
  device: string;
  netns: string;
}

export interface UdpHandle {
  fd: number;
  port: number;
  gso: boolean;
  gro: boolean;
  receiveBuffer: number;
  sendBuffer: number;
}

export interface PingOptions {
  family: 4 | 6;
  /** 16 bytes, of which IPv4 uses the first 4. */
  address: Uint8Array;
  scope: number;
}

export interface PingHandle {
  fd: number;
  /** Of the requests: the kernel puts it in. 0 with a raw socket, where the caller chooses. */
  identifier: number;
  /** Ping sockets are not allowed here, and a raw one is. */
  raw: boolean;
}

/** Cells of what `pingReceive` says. */
export const PingInfo = {
  /** 0: a message that came. 1: an ICMP error, and the bytes are the request that it quotes, from its ICMP header on. */
  isError: 0,
  /** Where the ICMP header is. */
  start: 1,
  /** Of the reply. */
  ttl: 2,
  /** Of the error; 0 for one that was made here. */
  type: 3,
  code: 4,
  /** The family of whoever sent the error, 0 for nobody. */
  from: 5,
} as const;
export const PING_CELLS = 6;

/**
 * Outer addresses by integer, one table for a whole network. Rows `0 .. pinned-1` are assigned by JavaScript and
 * stay; rows from `pinned` on are a ring that native code fills with senders it does not know, one fresh row per
 * datagram: row `pinned + cursor[0]`, then `cursor[0] = (cursor[0] + 1) % (total - pinned)`. Several ports share
 * the ring and its cursor. It is at least as long as the pool has slots, so that a row cannot be overwritten while
 * a packet that names it is still in flight.
 */
export interface AddressTable {
  pinned: number;
  /** 32 bytes per row: family (4 or 6), 0, port (big endian), 16 bytes address, 4 bytes scope (little endian), 8 spare. */
  rows: Uint8Array;
  /** One cell: the next row of the ring, relative to `pinned`. */
  cursor: Int32Array;
  /**
   * What a port could not send because it is longer than the interface takes (EMSGSIZE). Cell 0 counts such datagrams, over
   * its end; cell `1 + row` is the length of the shortest to that pinned row, until somebody sets it to 0.
   */
  tooLong: Int32Array;
  /**
   * What came back from where nobody listens (ICMP port unreachable), to ports that ask for it. Cell 0 counts such datagrams,
   * over its end; cell `1 + row` those to that pinned row, until somebody sets it to 0.
   */
  refused: Int32Array;
}

export interface PacketSocketOptions {
  interface: string;
  /** Ask for PACKET_VNET_HDR. */
  vnetHeader: boolean;
  /** Also see frames this host sends on the interface (capture). */
  outgoing: boolean;
  promiscuous: boolean;
  buffer: number;
  netns: string;
}

export interface TcpOptions {
  family: 4 | 6;
  address: Uint8Array;
  scope: number;
  port: number;
  /**
   * Milliseconds after which unacknowledged data, or an idle peer that answers no keepalive, ends a connection
   * (TCP_USER_TIMEOUT; keepalives each second); the system's when left out. Accepted connections inherit it.
   */
  timeout?: number;
  /** Bytes that the kernel queues unsent before it says it has no room (TCP_NOTSENT_LOWAT); the system's when left out. */
  unsent?: number;
  netns: string;
}

/**
 * Bits for `pollerAdd`, `pollerModify` and the events that come back. `edge` asks for EPOLLET: each readiness is
 * told once, and again only after the descriptor was not ready in between.
 */
export const PollEvent = { read: 1, write: 2, error: 4, edge: 8 } as const;

export interface Native {
  /** CLOCK_MONOTONIC in nanoseconds. */
  now(): number;

  // ── pools
  /** Keeps the arrays alive until `poolDetach`. */
  poolAttach(memory: PoolMemory): number;
  poolDetach(pool: number): void;
  /** How many bytes an array begins behind the start of a cache line of 64. */
  lineOffset(array: Uint8Array): number;

  // ── bursts of packets: what `Pool` does one by one. Handles that are not live are passed over.
  /** Fresh packets in small slots into `into[0..n)`; returns how many there were. */
  poolAlloc(pool: number, account: number, into: Int32Array, n: number): number;
  /** A clone of each of `from[0..n)` into `into`; returns how many there were. */
  poolClone(pool: number, from: Int32Array, n: number, into: Int32Array): number;
  /** A copy of each, with bytes of its own, paid by the account of the original. */
  poolCopy(pool: number, from: Int32Array, n: number, into: Int32Array): number;
  /** Writes what it freed into `tally`. */
  poolFree(pool: number, handles: Int32Array, n: number): void;
  /** `n` packets like `template`, in small slots of their own, into `into`; returns how many there were. */
  poolStamp(pool: number, template: number, into: Int32Array, n: number): number;

  // ── links. A ring is a power of two long; `counts` gets wire packets and bytes of what is put. `head` and `tail` run
  // over the ring's end, and there must be `n` handles, or room for them.
  /** Keeps a link's arrays; its number for the calls below, or -1. */
  ringAttach(pool: number, handles: Int32Array, counts: Float64Array): number;
  ringDetach(pool: number, ring: number): void;
  /** Forgets all rings of a pool. */
  ringsDetach(pool: number): void;
  /** `handles[0..n)` onto the ring. */
  ringPut(pool: number, handles: Int32Array, n: number, ring: number, tail: number): void;
  /** `n` packets like `template` onto the ring; returns how many there were. */
  ringStamp(pool: number, template: number, n: number, ring: number, tail: number): number;
  /** Clones of the `n` oldest of one ring onto another; returns how many there were. */
  ringClone(pool: number, from: number, head: number, n: number, to: number, tail: number): number;
  /** The same with bytes of their own. */
  ringCopy(pool: number, from: number, head: number, n: number, to: number, tail: number): number;
  /** The `n` oldest from one ring to another. */
  ringMove(pool: number, from: number, head: number, n: number, to: number, tail: number): void;
  /** Clones onto one ring and the packets themselves, as many, onto another; returns how many. */
  ringSplit(
    pool: number,
    from: number,
    head: number,
    n: number,
    clones: number,
    clonesTail: number,
    to: number,
    tail: number,
  ): number;
  /** Ends the `n` oldest and writes what that was into `tally`. */
  ringFree(pool: number, ring: number, head: number, n: number): void;

  // ── devices (set-up: they throw)
  tunOpen(options: TunOptions): TunHandle;
  tunPersist(fd: number, persist: boolean): void;
  /** Two descriptors for `tunPort` that stand for a TUN each: what is sent to one is received from the other. */
  tunPair(): [number, number];
  /** Hands a descriptor to the process at the other end of a Unix socket; this one keeps its own. */
  descriptorSend(socket: number, fd: number): void;
  /** Takes one that was sent already. Throws with EAGAIN where none was. */
  descriptorReceive(socket: number): number;
  /** Settings of an interface by name, in the namespace at the path `netns`, or in this one (''). */
  interfaceSet(
    name: string,
    settings: { mtu?: number; up?: boolean; txQueueLength?: number },
    netns: string,
  ): void;
  interfaceGet(
    name: string,
    netns: string,
  ): { index: number; mtu: number; up: boolean; running: boolean; mac: Uint8Array };
  udpOpen(options: UdpOptions): UdpHandle;
  /** A socket for echo requests to one host (ICMP, ICMPv6): a ping socket, or a raw one. */
  pingOpen(options: PingOptions): PingHandle;
  /** The TTL or hop limit of the requests from here on. Returns 0 or -errno. */
  pingTtl(fd: number, family: 4 | 6, ttl: number): number;
  /** Sends an echo request, from its ICMP header on; of IPv4 with its checksum. Returns 0 or -errno. */
  pingSend(fd: number, message: Uint8Array): number;
  /**
   * What came: a message of that host in `buffer`, or an ICMP error. A raw socket hears of all pings to the host.
   *
   * @param rawFour 1 for a raw socket of IPv4, whose messages have the IP header
   * @param info PING_CELLS cells @param from 16 bytes: who sent the error
   * @returns bytes in `buffer`, or -errno (-EAGAIN: nothing)
   */
  pingReceive(fd: number, rawFour: number, buffer: Uint8Array, info: Int32Array, from: Uint8Array): number;
  /** `vnetHeader` is 10 or 0. */
  packetOpen(options: PacketSocketOptions): { fd: number; index: number; vnetHeader: number };
  /** Closes a descriptor that was opened here or in another thread; ports on it fail with -EBADF from now on. */
  close(fd: number): void;

  // ── the process
  /**
   * Makes a second process that holds this one's memory until this one is gone, so that a kill closes descriptors at once and
   * not after the memory has been taken apart (tens of milliseconds). It has no descriptors, takes no signals and needs no
   * memory of its own; tools show it as `tunc-memory`. Once for a process. False where the kernel does not have it
   * (before Linux 5.9, or behind a filter of system calls): then nothing changes.
   */
  keepMemory(): boolean;

  // ── ports: one per descriptor that moves packets. `batch` holds the handles of one call.
  tunPort(pool: number, fd: number, options: TunPortOptions): number;
  udpPort(pool: number, fd: number, options: UdpPortOptions): number;
  packetPort(pool: number, fd: number, options: TunPortOptions): number;
  portClose(port: number): void;
  /**
   * Reads up to `max` packets into fresh handles and puts those into `batch[0..n)`. Returns n, 0 when nothing
   * waits, or -errno (-ENOBUFS: the account is exhausted; nothing is lost). A port keeps what it could not hand on
   * (datagrams of a merged buffer, a superframe without a large slot), which no poller knows of: only 0, or a 1 in
   * `RX_DRAINED`, means that there is no more.
   */
  receive(port: number, max: number): number;
  /**
   * Sends `batch[0..n)` and frees what was sent or dropped (each drop counted). Returns how many handles were
   * done with, from the front; the rest were not touched because the kernel had no room, and stay the caller's.
   */
  send(port: number, n: number): number;
  /** Reads the kernel's own drop counters into the port's counters. Not for the hot path. */
  portStatistics(port: number): void;
  /** Remembers a pinned row of the port's address table, so that datagrams from it arrive with `peer` = row. */
  addressPin(port: number, row: number): void;
  addressUnpin(port: number, row: number): void;

  /**
   * Sends `payload` over loopback in one call, cut by the kernel (UDP_SEGMENT) into datagrams of `segmentSize` unless
   * that is 0, to a socket that receives plainly or with UDP_GRO. Puts the bytes that arrived into `received`, each
   * datagram's length into `sizes`, and returns how many there were, or -errno of what could not be set up or
   * sent. Waits at most 10 ms for what is missing.
   */
  udpLoop(
    family: 4 | 6,
    payload: Uint8Array,
    segmentSize: number,
    gro: boolean,
    received: Uint8Array,
    sizes: Int32Array,
  ): number;

  // ── TCP byte streams (nonblocking; `stream` format)
  tcpListen(options: TcpOptions): { fd: number; port: number };
  /** Starts to connect. Ready for writing means: ask `tcpError`. */
  tcpConnect(options: TcpOptions): number;
  /** The next connection as a descriptor, or -errno. `address` receives an AddressTable row of the peer. */
  tcpAccept(fd: number, address: Uint8Array): number;
  /** SO_ERROR as errno; 0 is success. */
  tcpError(fd: number): number;
  /** Bytes read into `buffer[offset..offset+length)`; 0 at the end of the stream; -errno. */
  read(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  write(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  shutdown(fd: number): number;

  // ── waiting: an epoll, a timer and a wake-up in one. One driver, two ways to sleep.
  /**
   * `ready` receives pairs (key, events). `times` has two cells, in ns since `epoch` (ns of CLOCK_MONOTONIC), so that
   * no double crosses over: the clock as of the last wait or `pollerClock`, and when to wake a watched poller though
   * nothing is ready (Infinity = never), which is looked at after each turn.
   */
  pollerOpen(ready: Int32Array, times?: Float64Array, epoch?: number): number;
  pollerAdd(poller: number, fd: number, key: number, events: number): void;
  pollerModify(poller: number, fd: number, key: number, events: number): void;
  pollerRemove(poller: number, fd: number): void;
  /**
   * Waits until something is ready or CLOCK_MONOTONIC reaches `deadline` (ns; 0 = do not wait, Infinity = for
   * ever). Returns the number of pairs in `ready`. Never early; 1 ns timer slack in a thread that blocks here.
   */
  pollerWait(poller: number, deadline: number): number;
  /**
   * Calls `turn` on this thread whenever something is ready (as many pairs as it says are in `ready`), the deadline in
   * `times` has passed or a wake-up came; it may be called for nothing. When it returns true it is called again after
   * one round of the event loop. What it throws is an uncaught exception. Either the loop sleeps and watches the
   * poller, or (`blocking`) the thread blocks in the poller, which watches the loop: the shorter way, for workers, and
   * for one poller in each; further ones are watched by the loop.
   */
  pollerWatch(poller: number, turn: (ready: number) => boolean | undefined, blocking: boolean): void;
  /** Keeps the event loop alive or not while watching. */
  pollerRef(poller: number, ref: boolean): void;
  /** A turn in the next round of the event loop. */
  pollerSoon(poller: number): void;
  /** Reads the clock into `times`. */
  pollerClock(poller: number): void;
  /**
   * Ends a wait from any thread that has the same `poller` number, or the next one. A worker that blocks in
   * `pollerWait` cannot be terminated: wake it first. One that watches can.
   */
  pollerWake(poller: number): void;
  pollerClose(poller: number): void;

  // ── bytes (offload.cc); each has a TypeScript twin in src/packet
  /** Ones' complement sum of `bytes[offset..offset+length)` folded to 16 bits, not inverted, plus `initial`. */
  checksum(bytes: Uint8Array, offset: number, length: number, initial: number): number;
  /** Fills the checksum that `checksumStart` says is open. Leaves superframes, and fields outside the packet, alone. */
  completeChecksum(pool: number, handle: number): void;
  /**
   * Cuts a superframe into wire packets with full checksums: fresh handles into the pool's `cut[0..n)`, charged to the
   * same account. Returns n, or with nothing made -ENOBUFS, -ERANGE (`cut` is too short for its segments), -EINVAL (no superframe) or -EBADF (no packet). The superframe stays the caller's.
   */
  segment(pool: number, handle: number): number;
  /**
   * The reverse: merges those of the wire packets `handles[0..n)` that are successive packets of one flow, one `peer`
   * and one `trafficClass` into superframes. Each is the handle of its first packet, in a large slot of the same account
   * where it outgrows its own; the others are freed. Returns how many handles are left, in `handles[0..)` in order; -EBADF
   * (one is no packet, or is there twice) or -EINVAL, with nothing changed. The rules are in native/coalesce.h.
   * @param framing a value of `Coalesce`, not `none`
   */
  coalesce(pool: number, handles: Int32Array, n: number, framing: number): number;
}

export interface TunPortOptions {
  batch: Int32Array;
  counters: Float64Array;
  account: number;
  /** 2 or 3: what the device carries. */
  layer: 2 | 3;
  vnetHeader: number;
  /** `TunOffload` bits: which superframes may be written whole. */
  offloads: number;
  /** Nanoseconds of CLOCK_MONOTONIC at the runtime's start, taken off arrival times. */
  epoch: number;
}

export interface UdpPortOptions {
  batch: Int32Array;
  counters: Float64Array;
  account: number;
  family: 4 | 6;
  gso: boolean;
  gro: boolean;
  /** A value of `Coalesce`; what arrives is not merged without it. */
  coalesce?: number;
  /** Asks the kernel for what comes back from where nobody listens, and counts it in `addresses.refused`. */
  refusals?: boolean;
  addresses: AddressTable;
  epoch: number;
}
