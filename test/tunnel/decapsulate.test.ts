import { describe, expect, test } from 'vitest';
import { Pool } from '../../src/engine/pool.ts';
import { decapsulate, decapsulateRaw, isControl } from '../../src/tunnel/decapsulate.ts';
import { TunnelDrop } from '../../src/tunnel/reasons.ts';
import { superframe } from '../native/superframes.ts';
import { pattern } from '../native/support.ts';

/** MAC addresses that begin with zero bits, as a control message does. */
const LINK = Uint8Array.from([0, 22, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);

/** A superframe as the UDP port makes it of datagrams: its prefix lies in front of `offset`. */
function fromPort(pool: Pool, link: Uint8Array, prefix: readonly number[], outer = 0): number {
  pool.quotaLarge[1] = 4;
  const made = superframe({
    version: 4,
    protocol: 'tcp',
    payload: pattern(5000, 1),
    segmentSize: 1000,
    link,
  });
  const packet = pool.allocLarge(1);
  const at = pool.offset[packet] + prefix.length;
  pool.slab.set(prefix, pool.offset[packet]);
  pool.slab.set(made.bytes, at);
  pool.offset[packet] = at;
  pool.length[packet] = made.bytes.length;
  pool.prefixLength[packet] = prefix.length;
  pool.l3Offset[packet] = made.l3;
  pool.gsoType[packet] = made.gsoType;
  pool.segmentSize[packet] = made.segmentSize;
  pool.segments[packet] = made.segments;
  pool.checksumStart[packet] = made.checksumStart;
  pool.checksumOffset[packet] = made.checksumOffset;
  pool.trafficClass[packet] = outer;
  return packet;
}

const poolOf = () => new Pool({ smallSlots: 8, largeSlots: 4 });
const shape = (pool: Pool, packet: number) => ({
  layer: pool.layer[packet],
  l3: pool.l3Offset[packet],
  prefix: pool.prefixLength[packet],
  length: pool.length[packet],
  segments: pool.segments[packet],
  segmentSize: pool.segmentSize[packet],
  checksumStart: pool.checksumStart[packet],
});

describe('a superframe that was merged outside', () => {
  test('of IP packets goes on as a superframe of layer 3', () => {
    const pool = poolOf();
    const packet = fromPort(pool, new Uint8Array(0), []);
    const offset = pool.offset[packet];
    expect(isControl(pool, packet)).toBe(false);
    expect(decapsulate(pool, packet, 3)).toBe(0);
    expect(pool.offset[packet]).toBe(offset);
    expect(shape(pool, packet)).toEqual({
      layer: 3,
      l3: 0,
      prefix: 0,
      length: 5040,
      segments: 5,
      segmentSize: 1000,
      checksumStart: 20,
    });
  });

  test.each([
    { name: 'behind EtherIP', prefix: [0x30, 0], open: decapsulate },
    { name: 'bare', prefix: [], open: decapsulateRaw },
  ])('of Ethernet frames, $name, goes on as a superframe of layer 2 without a prefix', ({ prefix, open }) => {
    const pool = poolOf();
    const packet = fromPort(pool, LINK, prefix);
    const offset = pool.offset[packet];
    expect(open(pool, packet, 2)).toBe(0);
    expect(pool.offset[packet]).toBe(offset);
    expect(shape(pool, packet)).toEqual({
      layer: 2,
      l3: 14,
      prefix: 0,
      length: 5054,
      segments: 5,
      segmentSize: 1000,
      checksumStart: 34,
    });
  });

  test('of Ethernet frames is no control message, whatever address it begins with', () => {
    const pool = poolOf();
    const packet = fromPort(pool, LINK, [0x30, 0]);
    expect(pool.slab[pool.offset[packet]] >> 4).toBe(0);
    expect(isControl(pool, packet)).toBe(false);
  });

  test('of Ethernet frames does not enter a tunnel of layer 3', () => {
    const pool = poolOf();
    expect(decapsulate(pool, fromPort(pool, LINK, [0x30, 0]), 3)).toBe(TunnelDrop.WrongLayer);
  });

  test('takes over the congestion that its outer headers met, or is dropped for it', () => {
    const pool = poolOf();
    expect(decapsulate(pool, fromPort(pool, LINK, [0x30, 0], 3), 2)).toBe(TunnelDrop.Congestion);
    const capable = fromPort(pool, LINK, [0x30, 0], 3);
    pool.slab[pool.offset[capable] + 15] = 2;
    expect(decapsulate(pool, capable, 2)).toBe(0);
    expect(pool.slab[pool.offset[capable] + 15]).toBe(3);
    expect(pool.segments[capable]).toBe(5);
  });
});
