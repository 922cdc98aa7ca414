/**
 * How a pool's memory is laid out. A descriptor is a row of sixteen 32-bit cells, 64 bytes, so that whoever makes,
 * clones or frees a packet touches one cache line of its descriptor. A handle is the number of its row's first cell, and
 * each column is the same memory seen from another cell on: `pool.length[packet]` works without arithmetic.
 */
import { TunconnectorError } from '../errors.ts';
import {
  COMMON_ACCOUNT,
  DESCRIPTOR_CELLS,
  DescriptorCell,
  LARGE_SLOT,
  type Native,
  type PoolMemory,
  SMALL_SLOT,
} from '../native/binding.ts';
import { addonOrNull } from './native-pool.ts';

export const MAX_ACCOUNTS = 256;
/** More segments than 64 KiB of the smallest reasonable segments hold are an attack on everybody's memory. */
export const MAX_SEGMENTS = 256;
const CACHE_LINE = 64;

export interface PoolSize {
  smallSlots: number;
  largeSlots: number;
}

export class SharedPoolMemory implements PoolMemory {
  readonly slab: Uint8Array;
  readonly smallSlots: number;
  readonly largeSlots: number;
  readonly stride: number;

  readonly descriptors: Int32Array;
  readonly slot: Int32Array;
  readonly offset: Int32Array;
  readonly length: Int32Array;
  readonly segments: Int32Array;
  readonly layer: Int32Array;
  readonly l3Offset: Int32Array;
  readonly prefixLength: Int32Array;
  readonly segmentSize: Int32Array;
  readonly gsoType: Int32Array;
  readonly checksumStart: Int32Array;
  readonly checksumOffset: Int32Array;
  readonly peer: Int32Array;
  readonly trafficClass: Int32Array;
  readonly flags: Int32Array;
  readonly state: Int32Array;

  readonly arrived: Float64Array;
  readonly references: Int32Array;
  readonly owner: Uint8Array;

  readonly freeDescriptors: Int32Array;
  readonly freeSmall: Int32Array;
  readonly freeLarge: Int32Array;

  readonly usedSmall = shared(Int32Array, MAX_ACCOUNTS);
  readonly quotaSmall = shared(Int32Array, MAX_ACCOUNTS);
  readonly usedLarge = shared(Int32Array, MAX_ACCOUNTS);
  readonly quotaLarge = shared(Int32Array, MAX_ACCOUNTS);

  readonly tally = shared(Float64Array, 2);
  readonly cut = shared(Int32Array, MAX_SEGMENTS);

  /** @param generations how many rows take turns in being one descriptor; more than 1 finds stale handles */
  constructor({ smallSlots, largeSlots }: PoolSize, generations: number) {
    const slots = smallSlots + largeSlots;
    // Clones need descriptors of their own: as many again as there are slots.
    const cells = slots * 2 * DESCRIPTOR_CELLS;
    this.smallSlots = smallSlots;
    this.largeSlots = largeSlots;
    this.stride = generations > 1 ? cells : 0;
    const bytes = smallSlots * SMALL_SLOT + largeSlots * LARGE_SLOT;
    if (bytes > 0x7fffffff) {
      throw new TunconnectorError('ERR_LIMIT', `a pool of ${bytes} bytes is over the limit of 2^31 - 1`);
    }
    this.slab = shared(Uint8Array, bytes);
    this.descriptors = shared(Int32Array, cells * generations);
    const column = (cell: number) => this.descriptors.subarray(cell);
    this.slot = column(DescriptorCell.slot);
    this.offset = column(DescriptorCell.offset);
    this.length = column(DescriptorCell.length);
    this.segments = column(DescriptorCell.segments);
    this.layer = column(DescriptorCell.layer);
    this.l3Offset = column(DescriptorCell.l3Offset);
    this.prefixLength = column(DescriptorCell.prefixLength);
    this.segmentSize = column(DescriptorCell.segmentSize);
    this.gsoType = column(DescriptorCell.gsoType);
    this.checksumStart = column(DescriptorCell.checksumStart);
    this.checksumOffset = column(DescriptorCell.checksumOffset);
    this.peer = column(DescriptorCell.peer);
    this.trafficClass = column(DescriptorCell.trafficClass);
    this.flags = column(DescriptorCell.flags);
    this.state = column(DescriptorCell.state);
    this.arrived = shared(Float64Array, slots);
    this.references = shared(Int32Array, slots);
    this.owner = shared(Uint8Array, slots);
    this.freeDescriptors = stack(slots * 2, 0, DESCRIPTOR_CELLS);
    this.freeSmall = stack(smallSlots, 0, 1);
    this.freeLarge = stack(largeSlots, smallSlots, 1);
    this.quotaSmall[COMMON_ACCOUNT] = smallSlots;
    this.quotaLarge[COMMON_ACCOUNT] = largeSlots;
  }
}

interface CellType<T> {
  new (memory: SharedArrayBuffer, byteOffset: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
}

/** False where there is none. */
let addon: Native | false | undefined;

/**
 * Columns are shared memory, so that packets can cross threads; measured as fast as private memory. They begin with a
 * cache line: memory as it is given begins 16 bytes behind one, every row and every packet of 60 bytes would lie in two
 * lines, and bursts were a third slower.
 */
function shared<T>(type: CellType<T>, length: number): T {
  const bytes = length * type.BYTES_PER_ELEMENT;
  const memory = new SharedArrayBuffer(bytes + CACHE_LINE);
  addon ??= addonOrNull() ?? false;
  const behind = addon === false ? 0 : addon.lineOffset(new Uint8Array(memory));
  const skip = behind % type.BYTES_PER_ELEMENT === 0 ? (CACHE_LINE - behind) % CACHE_LINE : 0;
  return new type(memory, skip, length);
}

/** A full stack of `count` numbers from `first` on, the lowest on top. Element 0 is the count. */
function stack(count: number, first: number, step: number): Int32Array {
  const cells = shared(Int32Array, count + 1);
  cells[0] = count;
  for (let i = 0; i < count; i++) cells[i + 1] = first + (count - 1 - i) * step;
  return cells;
}
