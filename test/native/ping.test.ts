import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { PING_CELLS, PingInfo } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { parseIp } from '../../src/packet/address.ts';
import * as icmp from '../../src/packet/icmp.ts';
import { needs } from '../needs.ts';

const { EAGAIN, EBADF, EINVAL } = constants.errno;
const open: number[] = [];
afterEach(() => {
  for (const fd of open.splice(0)) native().close(fd);
});

function socket(to: string) {
  const { family, bytes } = parseIp(to);
  const address = new Uint8Array(16);
  address.set(bytes);
  const handle = native().pingOpen({ family, address, scope: 0 });
  open.push(handle.fd);
  const buffer = new Uint8Array(2000);
  const info = new Int32Array(PING_CELLS);
  const from = new Uint8Array(16);
  const identifier = handle.raw ? 0x7e57 : handle.identifier;
  return {
    ...{ family, fd: handle.fd, info, identifier },
    send(sequence: number, size: number): number {
      const body = Uint8Array.from({ length: size }, (_, i) => i);
      const message = new Uint8Array(8 + size);
      const type = family === 4 ? icmp.Type.Echo : 128;
      icmp.emit({ type, code: 0, rest: identifier * 0x10000 + sequence, body }, message);
      return native().pingSend(handle.fd, message);
    },
    receive(): Uint8Array | number {
      const rawFour = handle.raw && family === 4 ? 1 : 0;
      const length = native().pingReceive(handle.fd, rawFour, buffer, info, from);
      return length < 0 ? length : buffer.slice(info[PingInfo.start], length);
    },
  };
}

describe.skipIf(needs('root'))('a socket for pings', () => {
  test.each(['127.0.0.1', '::1'])('to %s gets its replies', async (to) => {
    const ping = socket(to);
    for (const [sequence, size] of [
      [1, 0],
      [2, 100],
      [65_535, 1400],
    ] as const) {
      expect(ping.send(sequence, size)).toBe(0);
      await sleep(5);
      const reply = ping.receive() as Uint8Array;
      expect(ping.info[PingInfo.isError]).toBe(0);
      expect(ping.info[PingInfo.ttl]).toBe(64);
      expect([reply[0], icmp.identifier(reply, 0), icmp.sequence(reply, 0), reply.length]).toEqual([
        ...[ping.family === 4 ? 0 : 129, ping.identifier, sequence, 8 + size],
      ]);
      expect([...reply.subarray(8)]).toEqual(Array.from({ length: size }, (_, i) => i & 0xff));
      expect(ping.receive()).toBe(-EAGAIN);
    }
  });

  test('cuts nothing: what is longer than the buffer is gone', async () => {
    const ping = socket('127.0.0.1');
    ping.send(1, 5000);
    ping.send(2, 10);
    await sleep(5);
    expect(icmp.sequence(ping.receive() as Uint8Array, 0)).toBe(2);
  });

  test('takes a TTL, and refuses what is none', () => {
    const ping = socket('127.0.0.1');
    expect(native().pingTtl(ping.fd, 4, 7)).toBe(0);
    expect(native().pingTtl(ping.fd, 4, 256)).toBe(-EINVAL);
    expect(native().pingTtl(socket('::1').fd, 6, 300)).toBe(-EINVAL);
  });

  test('says why there is none', () => {
    expect(() => socket('255.255.255.255')).toThrow(/EACCES|ENETUNREACH/);
    const address = new Uint8Array(16);
    expect(() => native().pingOpen({ family: 5 as 4, address, scope: 0 })).toThrow(/family/);
    expect(() => native().pingOpen({ family: 6, address: new Uint8Array(4), scope: 0 })).toThrow(/address/);
  });

  test('refuses what is no memory for a message', () => {
    const { fd } = socket('127.0.0.1');
    const receive = native().pingReceive as (...words: unknown[]) => number;
    const good = [fd, 0, new Uint8Array(100), new Int32Array(PING_CELLS), new Uint8Array(16)];
    expect(receive(...good)).toBe(-EAGAIN);
    for (const [at, bad] of [
      [2, new Int32Array(9)],
      [2, 'text'],
      [3, new Int32Array(PING_CELLS - 1)],
      [3, new Uint8Array(100)],
      [4, new Uint8Array(15)],
      [4, undefined],
    ] as const) {
      expect(receive(...good.map((each, i) => (i === at ? bad : each)))).toBe(-EINVAL);
    }
    expect(receive(-1, ...good.slice(1))).toBe(-EBADF);
    const send = native().pingSend as (...words: unknown[]) => number;
    expect(send(fd, 'text')).toBe(-EINVAL);
    expect(send(-1, new Uint8Array(8))).toBe(-EBADF);
  });
});
