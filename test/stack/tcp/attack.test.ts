import { describe, expect, it } from 'vitest';
import { type App, Network, type Ports, VirtualRuntime } from '../../../src/engine/index.ts';
import { type RandomStream, randomStream } from '../../../src/engine/random.ts';
import { impair } from '../../../src/impair/impair.ts';
import { Flag } from '../../../src/packet/tcp.ts';
import { fillTransport } from '../../../src/packet/transport.ts';
import { put16, put32 } from '../../../src/packet/word.ts';
import { Stack } from '../../../src/stack/index.ts';
import type { Connection } from '../../../src/stack/tcp/connection.ts';
import { End, RIGHT } from './pair.ts';

/** What RFC 5961 says must end nothing. */
const KINDS = ['reset', 'syn', 'ack', 'outside', 'options', 'noise'] as const;
type Kind = (typeof KINDS)[number];

/** Lets everything pass, and behind each packet sends `copies` of it that an attacker might have made. */
class Attacker implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly #random: RandomStream;
  readonly #copies: number;
  /** The connection that its packets are for. */
  target: Connection | undefined;
  kinds: readonly Kind[] = KINDS;
  sent = 0;

  constructor(seed: number, copies: number) {
    this.#random = randomStream(seed, 'attacker');
    this.#copies = copies;
  }

  push({ pool, input, output }: Ports): void {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      const bytes = pool.copyOut(packet);
      output.out.put(packet);
      if (this.target === undefined || this.target.closed || output.out.room < 200) continue;
      for (let i = 0; i < this.#copies; i++) {
        const copy = pool.copyIn(this.#forge(bytes.slice()), 3);
        if (copy < 0) break;
        this.sent++;
        output.out.put(copy);
      }
    }
  }

  #forge(bytes: Uint8Array): Uint8Array {
    const random = this.#random;
    const at = 20;
    const { next, edge, una, nxt } = this.target!;
    const kind = this.kinds[random.below(this.kinds.length)]!;
    const inside = (next + 1 + random.below(Math.max(1, ((edge - next) | 0) - 1))) | 0;
    const flags = bytes[at + 13]!;
    switch (kind) {
      case 'reset':
        put32(bytes, at + 4, inside);
        bytes[at + 13] = Flag.Rst | (random.below(2) ? Flag.Ack : 0);
        break;
      case 'syn':
        put32(bytes, at + 4, random.below(2) ? inside : random.u32());
        bytes[at + 13] = Flag.Syn | random.below(32);
        bytes[at + 13]! &= ~Flag.Rst;
        break;
      case 'ack':
        // Of what was never sent, or long ago.
        put32(
          bytes,
          at + 8,
          (random.below(2) ? nxt + 1 + random.below(1 << 28) : una - (1 << 27) - random.below(1 << 28)) | 0,
        );
        bytes[at + 13] = flags | Flag.Ack;
        break;
      case 'outside':
        put32(bytes, at + 4, (next + (1 << 27) + random.below(2 ** 31)) | 0);
        bytes[at + 13] = random.below(256);
        break;
      case 'options':
        for (let i = 20; i < (bytes[at + 12]! >> 4) * 4; i++) bytes[at + i] = random.below(256);
        bytes[at + 12] = random.below(256);
        put32(bytes, at + 4, (next - (1 << 26)) | 0);
        break;
      default:
        for (let i = 0; i < 4; i++) bytes[at + random.below(bytes.length - at)]! ^= 1 + random.below(255);
        // As the checksum finds out.
        return bytes;
    }
    put16(bytes, at + 16, 0);
    fillTransport(bytes, 0);
    return bytes;
  }
}

describe('forged segments', () => {
  for (const timestamps of [true, false]) {
    it(`of 50 000 none ends or damages a connection (time stamps: ${timestamps})`, async () => {
      const runtime = new VirtualRuntime({ seed: 5 });
      const net = new Network(runtime, { memory: 256 << 20 });
      const host = (address: string) => new Stack({ interfaces: [{ name: 'eth0', addresses: [address] }] });
      const [left, right] = [host('10.0.0.1/24'), host('10.0.0.2/24')];
      const [up, down] = [new Attacker(1, 15), new Attacker(2, 15)];
      net.app('left', left).app('right', right).app('up', up).app('down', down);
      net
        .app('d1', impair({ stages: 'delay 5ms', seed: 1 }))
        .app('d2', impair({ stages: 'delay 5ms', seed: 2 }));
      net.link('left.eth0 -> up.in').link('up.out -> d1.in').link('d1.out -> right.eth0');
      net.link('right.eth0 -> down.in').link('down.out -> d2.in').link('d2.out -> left.eth0');
      await net.start();
      const client = new End(runtime);
      const server = new End(runtime);
      right.listen({ port: 80 }, (connection) => {
        server.connection = connection;
        return server.handlers;
      });
      client.connection = left.connect({ address: RIGHT, port: 80, timestamps }, client.handlers);
      runtime.advance('100ms');
      up.target = server.connection;
      down.target = client.connection;
      let bytes = 0;
      while (up.sent + down.sent < 50_000) {
        client.send(100_000, false);
        server.send(20_000, false);
        bytes += 100_000;
        runtime.advance('200ms');
        expect(client.error ?? server.error).toBeUndefined();
      }
      up.target = down.target = undefined;
      runtime.advance('30s');
      expect([server.received, client.received]).toEqual([bytes, bytes / 5]);
      expect([server.wrong, client.wrong]).toEqual([0, 0]);
      expect(left.tcp.memory + right.tcp.memory).toBeLessThan(32 << 20);
      expect(right.tcp.connections).toBe(1);
      await net.close();
    });
  }
});
