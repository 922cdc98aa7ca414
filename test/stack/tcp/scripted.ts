/**
 * One stack in virtual time, and a peer that says exactly what it is told to: segments in, segments out, and the time of each. Sequence
 * numbers count from 0 for the SYN on either side.
 */
import { tcpPacket } from '../../../src/packet/build.ts';
import type { tooBig, unreachable } from '../../../src/packet/icmp-error.ts';
import * as tcp from '../../../src/packet/tcp.ts';
import type { TcpOptions } from '../../../src/stack/index.ts';
import { stampOf } from '../../../src/stack/tcp/emit.ts';
import { testHost } from '../hosts.ts';
import { End } from './pair.ts';

export const MS = 1e6;
const OURS = '10.0.0.2';
const PEER = '10.0.0.1';
const PEER_PORT = 80;
const PEER_ISN = 1_000_000;
/** Of the peer's time stamps: a ms of it is a ms. */
const STAMP = 5_000_000;

export interface Said {
  /** ms since the script began. */
  at: number;
  flags: string;
  seq: number;
  ack: number;
  length: number;
  window: number;
  options: tcp.TcpOptions;
  /** The IP packet. */
  bytes: Uint8Array;
}

export interface Reply {
  ack?: number;
  seq?: number;
  flags?: number;
  payload?: number | Uint8Array;
  window?: number;
  /** Left and right edges. */
  sack?: [number, number][];
  tsval?: number;
  tsecr?: number;
  ecn?: number;
}

export interface ScriptOptions {
  tcp?: TcpOptions;
  /** What the peer's SYN says. */
  sack?: boolean;
  timestamps?: boolean;
  mss?: number;
  window?: number;
  /** ms between SYN and its answer. */
  rtt?: number;
  open?: boolean;
}

export type Script = Awaited<ReturnType<typeof script>>;

/** A connection from the stack to the peer. It is established, unless `open` is false: then the SYN has just left. */
export async function script(options: ScriptOptions = {}) {
  const { sack = true, timestamps = true, mss = 1460, window = 60_000, rtt = 100, open = true } = options;
  const world = await testHost();
  const { runtime, host, port } = world;
  const end = new End(runtime);
  const start = runtime.now();
  const local = 40_000;
  end.connection = host.connect(
    { address: PEER, port: PEER_PORT, localPort: local, ...options.tcp },
    end.handlers,
  );
  const c = end.connection;

  const advance = (ms: number): void => runtime.advance(ms * MS);
  const now = () => Math.round((runtime.now() - start) / MS);
  /** What has left since it was last asked. */
  const said = (): Said[] =>
    port.received.splice(0).flatMap(({ bytes, time }) => {
      if (bytes[9] !== 6) return [];
      const header = tcp.parse(bytes, 20)!;
      return [
        {
          at: Math.round((time - start) / MS),
          flags: tcp.flagText(header.flags),
          seq: (header.sequence - c.iss) >>> 0,
          ack: header.flags & tcp.Flag.Ack ? (header.acknowledgment - PEER_ISN) >>> 0 : 0,
          length: bytes.length - 20 - tcp.headerLength(bytes, 20),
          window: header.window,
          options: header.options,
          bytes,
        },
      ];
    });
  let next = 0;
  /** The peer says something, now. */
  const say = (reply: Reply = {}, more: tcp.TcpOptions = {}): void => {
    const { payload = 0, seq = next, flags = tcp.Flag.Ack, ack = 1 } = reply;
    const opts: tcp.TcpOptions = { ...more };
    if (timestamps)
      opts.timestamps = {
        value: reply.tsval ?? STAMP + now(),
        echo: reply.tsecr ?? stampOf(c, runtime.now()) >>> 0,
      };
    if (reply.sack) opts.sack = reply.sack.map(([l, r]) => [(c.iss + l) >>> 0, (c.iss + r) >>> 0]);
    const bytes = tcpPacket({
      from: `${PEER}:${PEER_PORT}`,
      to: `${OURS}:${local}`,
      sequence: (PEER_ISN + seq) >>> 0,
      acknowledgment: (c.iss + ack) >>> 0,
      flags,
      window: reply.window ?? window,
      tcpOptions: opts,
      payload,
      ecn: reply.ecn ?? 0,
    });
    port.send(bytes);
    advance(0);
  };
  /** The peer, or a router of it, says that what left at last could not be delivered. @param quoted of `said` */
  const icmp = (make: typeof unreachable | typeof tooBig, what: number, quoted: Uint8Array): void => {
    const into = new Uint8Array(1500);
    const source = Uint8Array.of(10, 0, 0, 1);
    port.send(into.slice(0, make(quoted, 0, quoted.length, what, source, 0, into, 0)));
    advance(0);
  };
  const syn = { mss, ...(sack && { sackPermitted: true }) };
  advance(open ? rtt : 0);
  if (open) {
    said();
    say({ flags: tcp.Flag.Syn | tcp.Flag.Ack }, syn);
    said();
  }
  next = 1;
  return { ...world, c, end, say, said, icmp, advance, now, syn };
}
