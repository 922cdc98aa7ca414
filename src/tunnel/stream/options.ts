/** What a stream tunnel is told, and what it tells. */
import { z } from 'zod';
import type { AppEvent } from '../../engine/app.ts';
import { configError } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { type Endpoint, parseEndpoint } from '../../packet/prefix.ts';
import { MAX_RECORD } from './framing.ts';

const schema = z.strictObject({
  layer: z.enum(['L3', 'L2']).default('L3'),
  /** A server: where it waits for its peer. `0.0.0.0:55555`; `[::]:55555` takes IPv4 as well; port 0 for any. */
  listen: z.string().optional(),
  /** A client: where its peer listens. */
  connect: z.string().optional(),
  /** Longest packet in a record, bytes (on layer 2, of the frame): longer ones are dropped, coming and going. */
  mtu: z.number().int().min(68).max(MAX_RECORD).default(MAX_RECORD),
  /** Path of a network namespace to have the sockets in. */
  netns: z.string().default(''),
});

export type StreamTunnelOptions = z.input<typeof schema>;
export type CheckedStreamOptions = z.output<typeof schema>;

/** @throws ERR_CONFIG */
export function checkStreamOptions(options: StreamTunnelOptions): CheckedStreamOptions {
  const checked = checkOptions(schema, options);
  const { listen, connect } = checked;
  if ((listen === undefined) === (connect === undefined)) {
    const found = listen === undefined ? 'neither listen nor connect' : 'both listen and connect';
    throw configError(`options: found ${found}, expected one of them`);
  }
  const { port } = endpointOf(checked);
  if (connect !== undefined && port === 0) throw configError('connect: found port 0, expected 1 to 65535');
  return checked;
}

/** Where to listen, or to connect to. */
export function endpointOf({ listen, connect }: CheckedStreamOptions): Endpoint {
  return parseEndpoint(listen ?? connect!);
}

/** What a stream tunnel tells its owner. */
export interface StreamNotice extends AppEvent {
  /**
   * `up`: the peer is there. `gone`: it is not any more. `moved`: another connection took over on a server.
   * `resolve`: a client gets no answer; its peer's name may mean another address by now.
   */
  type: 'up' | 'gone' | 'moved' | 'resolve';
  /** The peer's outer address, `192.168.6.9:55555`. */
  outer: string;
  /**
   * Of `gone` and `resolve`: `closed`, `reset`, `timeout`, `refused`, `unreachable`, `out-of-step`, `reconfigured`, or
   * the name of another system error in lower case. Otherwise empty.
   */
  reason: string;
  /** The same for people. */
  text: string;
}
