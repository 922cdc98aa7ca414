/** A pool, ports and hosts for the tests of the addon, without the engine above it. */

import { expect } from 'vitest';
import type {
  PacketSocketOptions,
  PoolMemory,
  TunHandle,
  UdpHandle,
  UdpOptions,
} from '../../src/native/binding.ts';
import {
  type AddressTable,
  DESCRIPTOR_CELLS,
  DescriptorCell,
  HEADROOM,
  LARGE_SLOT,
  PORT_COUNTERS,
  PortCounter,
  SMALL_SLOT,
} from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import type { Host } from '../../src/testing/index.ts';

/** For tests that move real packets: a machine that stands still for a while loses some. What is wrong fails twice. */
export const RETRY = { retry: 1 };

export const ACCOUNT = 1;
const GENERATIONS = 4;

export interface MemoryOptions {
  smallSlots?: number;
  largeSlots?: number;
  quotaSmall?: number;
  quotaLarge?: number;
  /** Give handles generations, as debug builds do. */
  generations?: boolean;
  /** Over plain ArrayBuffers instead of shared ones. */
  unshared?: boolean;
  /** Cells for what `segment` makes. */
  cut?: number;
}

/** PoolMemory with the little that tests do to it. */
export class TestPool {
  readonly memory: PoolMemory;
  readonly id: number;

  constructor(options: MemoryOptions = {}) {
    const { smallSlots = 512, largeSlots = 8, generations = false, unshared = false } = options;
    const slots = smallSlots + largeSlots;
    const handles = slots * 2;
    const stride = handles * DESCRIPTOR_CELLS;
    const cells = generations ? stride * GENERATIONS : stride;
    const buffer = (bytes: number) => (unshared ? new ArrayBuffer(bytes) : new SharedArrayBuffer(bytes));
    const bytes = (n: number) => new Uint8Array(buffer(n));
    const ints = (n: number) => new Int32Array(buffer(n * 4));
    const stack = (count: number, first: number, step = 1) => {
      const numbers = ints(count + 1);
      numbers[0] = count;
      for (let i = 0; i < count; i++) numbers[i + 1] = first + (count - 1 - i) * step;
      return numbers;
    };
    const descriptors = ints(cells);
    const columns = Object.fromEntries(
      Object.entries(DescriptorCell).map(([name, cell]) => [name, descriptors.subarray(cell)]),
    ) as Record<keyof typeof DescriptorCell, Int32Array>;
    this.memory = {
      slab: bytes(smallSlots * SMALL_SLOT + largeSlots * LARGE_SLOT),
      smallSlots,
      largeSlots,
      stride: generations ? stride : 0,
      descriptors,
      ...columns,
      arrived: new Float64Array(buffer(slots * 8)),
      references: ints(slots),
      owner: bytes(slots),
      freeDescriptors: stack(handles, 0, DESCRIPTOR_CELLS),
      freeSmall: stack(smallSlots, 0),
      freeLarge: stack(largeSlots, smallSlots),
      usedSmall: ints(4),
      quotaSmall: ints(4),
      usedLarge: ints(4),
      quotaLarge: ints(4),
      tally: new Float64Array(buffer(16)),
      cut: new Int32Array(options.cut ?? 2048),
    };
    this.memory.quotaSmall[ACCOUNT] = options.quotaSmall ?? smallSlots;
    this.memory.quotaLarge[ACCOUNT] = options.quotaLarge ?? largeSlots;
    this.id = native().poolAttach(this.memory);
  }

  /** Descriptors in use. */
  get live(): number {
    return this.memory.freeDescriptors.length - 1 - this.memory.freeDescriptors[0];
  }

  /** A packet made of `bytes`, in a small slot where it fits. */
  put(bytes: Uint8Array): number {
    const m = this.memory;
    const large = bytes.length > SMALL_SLOT - HEADROOM;
    const free = large ? m.freeLarge : m.freeSmall;
    const slot = free[free[0]--];
    const handle = m.freeDescriptors[m.freeDescriptors[0]--];
    const start = large ? m.smallSlots * SMALL_SLOT + (slot - m.smallSlots) * LARGE_SLOT : slot * SMALL_SLOT;
    (large ? m.usedLarge : m.usedSmall)[ACCOUNT]++;
    m.references[slot] = 1;
    m.owner[slot] = ACCOUNT;
    m.slot[handle] = slot;
    m.offset[handle] = start + HEADROOM;
    m.length[handle] = bytes.length;
    for (const column of [
      m.layer,
      m.l3Offset,
      m.prefixLength,
      m.segmentSize,
      m.gsoType,
      m.trafficClass,
      m.flags,
    ]) {
      column[handle] = 0;
    }
    m.segments[handle] = 1;
    m.checksumStart[handle] = -1;
    m.checksumOffset[handle] = 0;
    m.peer[handle] = -1;
    m.arrived[slot] = 0;
    m.state[handle] = 1;
    m.slab.set(bytes, m.offset[handle]);
    return handle;
  }

  bytes(handle: number): Uint8Array {
    const at = this.memory.offset[handle];
    return this.memory.slab.slice(at, at + this.memory.length[handle]);
  }

  /** A second descriptor over the same slot. */
  clone(handle: number): number {
    const m = this.memory;
    const copy = m.freeDescriptors[m.freeDescriptors[0]--];
    m.descriptors.copyWithin(copy, handle, handle + DESCRIPTOR_CELLS);
    m.references[m.slot[handle]]++;
    return copy;
  }

  /** Frees as the engine does. */
  free(handle: number): void {
    const m = this.memory;
    const slot = m.slot[handle];
    const small = slot < m.smallSlots;
    m.state[handle] = 0;
    m.freeDescriptors[++m.freeDescriptors[0]] = (handle + m.stride) % m.descriptors.length;
    if (--m.references[slot] > 0) return;
    (small ? m.usedSmall : m.usedLarge)[m.owner[slot]]--;
    const free = small ? m.freeSmall : m.freeLarge;
    free[++free[0]] = slot;
  }

  detach(): void {
    native().poolDetach(this.id);
  }
}

/** A port with its batch and counters, and the calls on them. */
export class TestPort {
  readonly pool: TestPool;
  readonly batch = new Int32Array(256);
  readonly counters = new Float64Array(PORT_COUNTERS);
  readonly fd: number;
  id = -1;

  constructor(pool: TestPool, fd: number) {
    this.pool = pool;
    this.fd = fd;
  }

  get common() {
    return { batch: this.batch, counters: this.counters, account: ACCOUNT, epoch: 0 };
  }

  count(name: keyof typeof PortCounter): number {
    return this.counters[PortCounter[name]]!;
  }

  /** The counters that are not 0. */
  get counted(): Record<string, number> {
    const found: Record<string, number> = {};
    for (const [name, index] of Object.entries(PortCounter)) {
      if (this.counters[index] !== 0) found[name] = this.counters[index]!;
    }
    return found;
  }

  /** What one call brings: handles, which the caller frees. */
  receive(max = 256): number[] {
    const n = native().receive(this.id, max);
    return n > 0 ? [...this.batch.subarray(0, n)] : [];
  }

  /** Receives until `done` says so or 2 s have passed; frees and returns copies. */
  async collect(wanted: number): Promise<Uint8Array[]> {
    const found: Uint8Array[] = [];
    for (const end = performance.now() + 2000; found.length < wanted && performance.now() < end; ) {
      for (const handle of this.receive()) {
        found.push(this.pool.bytes(handle));
        this.pool.free(handle);
      }
      if (found.length < wanted) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return found;
  }

  send(handles: readonly number[]): number {
    this.batch.set(handles);
    return native().send(this.id, handles.length);
  }

  close(): void {
    native().portClose(this.id);
    native().close(this.fd);
  }
}

export function addressBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  if (!text.includes(':')) {
    bytes.set(text.split('.').map(Number));
    return bytes;
  }
  const [head = '', tail = ''] = text.split('::');
  const words = (part: string) =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  const front = words(head);
  const back = words(tail);
  const all = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  for (const [i, word] of all.entries()) bytes.set([word >> 8, word & 255], 2 * i);
  return bytes;
}

export function addressTable(pinned = 8, ring = 2048): AddressTable {
  const rows = new Uint8Array((pinned + ring) * 32);
  const tooLong = new Int32Array(1 + pinned);
  return { pinned, rows, cursor: new Int32Array(1), tooLong, refused: new Int32Array(1 + pinned) };
}

export function setRow(table: AddressTable, row: number, address: string, port: number): void {
  const cells = new Uint8Array(32);
  cells[0] = address.includes(':') ? 6 : 4;
  cells.set([port >> 8, port & 255], 2);
  cells.set(addressBytes(address).subarray(0, cells[0] === 6 ? 16 : 4), 4);
  table.rows.set(cells, row * 32);
}

export interface UdpEndOptions extends Partial<Omit<UdpOptions, 'address' | 'family'>> {
  address?: string;
  /** A value of `Coalesce`. */
  coalesce?: number;
  refusals?: boolean;
}

/** A UDP socket with its port. */
export class UdpEnd extends TestPort {
  readonly handle: UdpHandle;
  readonly addresses = addressTable();

  constructor(pool: TestPool, options: UdpEndOptions = {}) {
    const { address = '127.0.0.1', coalesce, refusals = false, ...rest } = options;
    const family = address.includes(':') ? 6 : 4;
    const handle = native().udpOpen({
      family,
      address: addressBytes(address),
      scope: 0,
      port: 0,
      dualStack: false,
      reuse: false,
      buffer: 4 << 20,
      gso: true,
      gro: true,
      device: '',
      netns: '',
      ...rest,
    });
    super(pool, handle.fd);
    this.handle = handle;
    const { gso, gro } = handle;
    this.id = native().udpPort(pool.id, handle.fd, {
      ...this.common,
      family,
      gso,
      gro,
      ...(coalesce === undefined ? {} : { coalesce }),
      refusals,
      addresses: this.addresses,
    });
  }

  /** A packet of these bytes to a row of the address table. */
  to(row: number, bytes: Uint8Array): number {
    const handle = this.pool.put(bytes);
    this.pool.memory.peer[handle] = row;
    return handle;
  }
}

/** Bytes that show where they come from. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = seed * 2654435761 + 1;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    bytes[i] = x >>> 16;
  }
  return bytes;
}

/** Compares lists of packets; vitest's own comparison takes seconds for some megabytes. */
export function expectSame(found: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  const text = (bytes: Uint8Array | undefined) =>
    bytes === undefined ? 'nothing' : `${bytes.length} bytes ${Buffer.from(bytes).toString('hex')}`;
  for (let i = 0; i < Math.max(found.length, expected.length); i++) {
    const a = found[i];
    const b = expected[i];
    if (a === undefined || b === undefined || Buffer.compare(a, b) !== 0) {
      expect(`packet ${i}: ${text(a)}`).toBe(`packet ${i}: ${text(b)}`);
    }
  }
  expect(found.length).toBe(expected.length);
}

export interface TunEndOptions {
  name?: string;
  mode?: 'tun' | 'tap';
  offload?: boolean;
  netns?: string;
  /** Overrides what the kernel granted. */
  offloads?: number;
}

/** A TUN or TAP with its port. */
export class TunEnd extends TestPort {
  readonly handle: TunHandle;

  constructor(pool: TestPool, options: TunEndOptions = {}) {
    const { name = 'tn%d', mode = 'tun', offload = true, netns = '' } = options;
    const handle = native().tunOpen({ name, mode, offload, multiQueue: false, exclusive: true, netns });
    super(pool, handle.fd);
    this.handle = handle;
    const { vnetHeader } = handle;
    const layer = mode === 'tun' ? 3 : 2;
    const offloads = options.offloads ?? handle.offloads;
    this.id = native().tunPort(pool.id, handle.fd, { ...this.common, layer, vnetHeader, offloads });
  }
}

/** A packet socket with its port. */
export class PacketEnd extends TestPort {
  readonly vnetHeader: number;

  constructor(pool: TestPool, name: string, options: Partial<PacketSocketOptions> = {}) {
    const handle = native().packetOpen({
      interface: name,
      vnetHeader: true,
      outgoing: false,
      promiscuous: true,
      buffer: 8 << 20,
      netns: '',
      ...options,
    });
    super(pool, handle.fd);
    this.vnetHeader = handle.vnetHeader;
    this.id = native().packetPort(pool.id, handle.fd, {
      ...this.common,
      layer: 2,
      vnetHeader: handle.vnetHeader,
      offloads: handle.vnetHeader > 0 ? 15 : 0,
    });
  }
}

/** Moves packets from one port to another, keeping what the kernel has no room for. */
export class Forwarder {
  readonly from: TestPort;
  readonly to: TestPort;
  #waiting: number[] = [];
  /** Largest number of segments one handle stood for. */
  most = 0;

  constructor(from: TestPort, to: TestPort) {
    this.from = from;
    this.to = to;
  }

  /** True when something moved. */
  run(): boolean {
    const { from, to } = this;
    if (this.#waiting.length === 0) {
      this.#waiting = from.receive(64);
      for (const handle of this.#waiting) this.most = Math.max(this.most, from.pool.memory.segments[handle]!);
    }
    if (this.#waiting.length === 0) return false;
    const done = to.send(this.#waiting);
    this.#waiting = this.#waiting.slice(done);
    return done > 0;
  }
}

/** Runs `step` in turn with the event loop until `end` settles. */
export async function during<T>(end: Promise<T>, step: () => boolean): Promise<T> {
  let over = false;
  const settled = end.finally(() => {
    over = true;
  });
  while (!over) {
    const busy = step();
    await new Promise<void>((resolve) => (busy ? setImmediate(resolve) : setTimeout(resolve, 1)));
  }
  return settled;
}

/** Sends `megabytes` from one host to another over TCP and compares their hashes. */
export async function transfer(
  client: Host,
  server: Host,
  address: string,
  port: number,
  megabytes: number,
): Promise<{ sent: string; received: string }> {
  const receiver = server.spawn([
    process.execPath,
    '-e',
    `const hash = require('crypto').createHash('sha256');
     require('net').createServer((s) => {
       s.on('data', (d) => hash.update(d)).on('end', () => { s.end('x'); console.log(hash.digest('hex')); process.exit(); });
     }).listen(${port}, '${address}', () => console.log('listening'));`,
  ]);
  await receiver.waitFor('listening');
  const sender = await client.exec(
    [
      process.execPath,
      '-e',
      `const { createHash, randomBytes } = require('crypto');
       const hash = createHash('sha256');
       const s = require('net').connect(${port}, '${address}');
       const block = randomBytes(1 << 20);
       let left = ${megabytes};
       const more = () => {
         while (left > 0) { left--; hash.update(block); if (!s.write(block)) { s.once('drain', more); return; } }
         s.end();
       };
       s.on('connect', more).on('data', () => {}).on('close', () => console.log(hash.digest('hex')));`,
    ],
    { check: true, timeout: 15_000 },
  );
  await receiver.ended;
  return { sent: sender.stdout.trim(), received: receiver.stdout.trim().split('\n').at(-1) ?? '' };
}
