/**
 * The `raw` format: every datagram is one packet and nothing else, so that other programs' plain UDP tunnels
 * understand it (socat's TUN,iff-no-pi and UDP). No sessions and no control messages: the peer is given, or it is
 * whoever sent the last good packet. What is longer than the fixed MTU is fragmented or answered like in `udp`.
 */
import { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../engine/app.ts';
import { IcmpReplies } from '../engine/icmp-replies.ts';
import { checkOptions } from '../engine/options.ts';
import { SECOND } from '../engine/units.ts';
import { type Endpoint, parseEndpoint } from '../packet/prefix.ts';
import { scopeOf } from '../tun/scope.ts';
import { decapsulateRaw } from './decapsulate.ts';
import { Encapsulator, roomForPieces } from './encapsulate.ts';
import { TunnelDrop } from './reasons.ts';

/** Between two events about whom it follows, ns: senders that take turns, or forged ones, are not told one by one. */
const TELL_INTERVAL = SECOND;

const schema = z.strictObject({
  layer: z.enum(['L3', 'L2']).default('L3'),
  /** Where packets go; without it, to the sender of the last good packet. */
  peer: z.string().optional(),
  /** Largest inner packet in bytes (of IP; on layer 2, of the frame). */
  mtu: z.number().int().min(68).max(65_507).default(1472),
});

export type RawTunnelOptions = z.input<typeof schema>;
type Checked = z.output<typeof schema>;

export class RawTunnel implements App {
  readonly inputs = ['inside', 'outside'];
  readonly outputs = ['inside', 'outside'];
  readonly required = ['inside', 'outside'];
  readonly paths = { inside: ['outside'], outside: ['inside'] };
  readonly superframes = true;
  readonly layers: Readonly<Record<string, Layer>>;
  readonly #options: Checked;
  readonly #layer: 2 | 3;
  readonly #replies = new IcmpReplies([]);
  readonly #encapsulator = new Encapsulator(false);
  readonly #given: Endpoint | undefined;
  #context: AppContext | undefined;
  #peer = -1;
  /** When it may tell again whom it follows, and when it has to: ns. */
  #mayTell = 0;
  readonly due = Float64Array.of(Number.POSITIVE_INFINITY);

  constructor(options: Checked) {
    this.#options = options;
    this.#layer = options.layer === 'L2' ? 2 : 3;
    this.layers = { inside: options.layer, outside: 'datagram' };
    this.#given = options.peer === undefined ? undefined : parseEndpoint(options.peer);
  }

  open(context: AppContext): void {
    this.#context = context;
    if (!this.#given) return;
    const { address, port } = this.#given;
    const { family, bytes, zone } = address;
    this.#peer = context.pool.addresses.pinAddress({ family, bytes, port, scope: scopeOf(zone) });
  }

  push({ pool, input, output, now }: Ports): void {
    this.#encapsulator.now = now;
    if (this.due[0] <= now) this.#tell(now);
    for (let n = input.outside.waiting; n > 0; n--) {
      const packet = input.outside.take();
      const from = pool.peer[packet];
      if (this.#given && from !== this.#peer) {
        pool.drop(packet, TunnelDrop.NoSession);
        continue;
      }
      const problem = decapsulateRaw(pool, packet, this.#layer);
      if (problem !== 0) {
        pool.drop(packet, problem);
        continue;
      }
      if (from !== this.#peer) this.#follow(from, now);
      output.inside.put(packet);
    }
    for (let n = input.inside.waiting; n > 0 && roomForPieces(output.outside); n--) {
      const packet = input.inside.take();
      if (this.#peer < 0) {
        pool.drop(packet, TunnelDrop.NotConnected);
        continue;
      }
      const limit = this.#options.mtu;
      const reply = this.#encapsulator.send(
        pool,
        packet,
        this.#peer,
        limit,
        0,
        output.outside,
        this.#replies,
      );
      if (reply >= 0) output.inside.put(reply);
    }
  }

  #follow(peer: number, now: number): void {
    const { addresses } = this.#context!.pool;
    const row = addresses.pin(peer);
    if (row === this.#peer) {
      addresses.unpin(row);
      return;
    }
    if (this.#peer >= 0) addresses.unpin(this.#peer);
    this.#peer = row;
    if (now >= this.#mayTell) this.#tell(now);
    else this.due[0] = this.#mayTell;
  }

  #tell(now: number): void {
    this.due[0] = Number.POSITIVE_INFINITY;
    this.#mayTell = now + TELL_INTERVAL;
    const { pool, emit } = this.#context!;
    emit({ type: 'peer', outer: pool.addresses.describe(this.#peer) });
  }

  close(): void {
    if (this.#peer >= 0) this.#context!.pool.addresses.unpin(this.#peer);
    this.#peer = -1;
  }

  report(): AppReport {
    return { peerKnown: this.#peer >= 0, icmpSent: this.#replies.sent };
  }
}

export const rawTunnel = defineApp<RawTunnelOptions, Checked>({
  module: import.meta.url,
  export: 'rawTunnel',
  check(options) {
    const checked = checkOptions(schema, options);
    if (checked.peer !== undefined) parseEndpoint(checked.peer);
    return checked;
  },
  create: (options) => new RawTunnel(options),
});
