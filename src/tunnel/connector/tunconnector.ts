/**
 * TunConnector: TUN or TAP interfaces of two or more hosts, connected through UDP or TCP. One object is a server, a
 * client, or both at once.
 *
 *     const tunnel = await startTunnel({ client: { remote: 'vpn.example', addresses: ['10.0.0.3/24'] } });
 *     tunnel.on('peer', ({ change, outer }) => console.log(change, outer));
 *     ...
 *     await tunnel.close();
 */
import { EventEmitter } from 'node:events';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { TunnelEnd } from './end.ts';
import { liveOutside, type Outside } from './live-outside.ts';
import { type CheckedTunnelOptions, checkTunnelOptions, type TunnelOptions } from './options.ts';
import type { PeerChange } from './peers.ts';
import type { EndReport, EndUp, Side } from './report.ts';

export interface TunConnectorEvents {
  /** An end is ready: a server listens; a client has been welcomed, for the first time. */
  up: [EndUp];
  /** A peer came, went, moved, was refused, is silent or back. */
  peer: [PeerChange];
  /** A client's interface was given the MTU that the path carries. */
  mtu: [{ side: Side; interface: string; mtu: number }];
  /** It cannot go on: refused by the server at first, the interface was deleted. Close it. */
  error: [error: unknown];
}

export interface TunnelReport {
  /** The server's end first, where there are both. */
  ends: EndReport[];
}

export interface TunConnectorSettings {
  /** What hosts, names and sockets of the outer network are to it; the machine's own unless told otherwise. */
  outside?: Outside;
  /**
   * With `thread: 'worker'`: packets of its own run through the code before the tunnel starts, for 0.2 to 0.3 s, so that
   * the first ones of the tunnel are as fast as all others.
   */
  warmUp?: boolean;
}

export class TunConnector extends EventEmitter<TunConnectorEvents> implements AsyncDisposable {
  readonly options: CheckedTunnelOptions;
  readonly ends: readonly TunnelEnd[];
  /** What happened before `start` was done is told when it is. */
  #early: (() => void)[] | undefined = [];
  #closing: Promise<void> | undefined;

  /** Nothing happens before `start`. @throws ERR_CONFIG */
  constructor(options: TunnelOptions, { outside = liveOutside, warmUp }: TunConnectorSettings = {}) {
    super();
    this.options = checkTunnelOptions(options);
    const sides = (['server', 'client'] as const).filter((side) => this.options[side]);
    this.ends = sides.map((side) => new TunnelEnd(side, this.options, outside, warmUp));
    for (const end of this.ends) {
      end.on('up', (up) => this.#tell(() => this.emit('up', up)));
      end.on('peer', (change) => this.#tell(() => this.emit('peer', change)));
      end.on('mtu', (mtu) => {
        this.#tell(() => this.emit('mtu', { side: end.side, interface: end.interface, mtu }));
      });
      end.on('error', (error) => this.#tell(() => this.emit('error', error)));
    }
  }

  /**
   * Makes interfaces and sockets, and configures the machine. When it rejects, everything is as it was.
   * Throws ERR_PERMISSION, ERR_TUN_OPEN, ERR_PORT_IN_USE, ERR_RESOLVE, ERR_INTERFACE, ERR_NATIVE, ERR_PLATFORM.
   */
  async start(): Promise<void> {
    try {
      for (const end of this.ends) await end.open();
    } catch (error) {
      await this.close();
      throw error;
    }
    // After whoever waits for `start` had the time to listen.
    const runtime = liveRuntime();
    runtime.timer(runtime.now(), () => {
      const early = this.#early ?? [];
      this.#early = undefined;
      for (const tell of early) tell();
    });
  }

  /** Figures of all ends; after `close` those of its beginning. Rejects when the thread of an end has ended by itself. */
  async report(): Promise<TunnelReport> {
    return { ends: await Promise.all(this.ends.map((end) => end.report())) };
  }

  /** Says goodbye, removes the interfaces and undoes every change to the machine. May be called any number of times. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#early = [];
    const ended = await Promise.allSettled(this.ends.map((end) => end.close()));
    const failed = ended.find((each) => each.status === 'rejected');
    if (failed) throw failed.reason;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #tell(event: () => void): void {
    if (this.#early) this.#early.push(event);
    else event();
  }
}

export type RunningTunnel = TunConnector;

/** A tunnel that runs when the promise resolves. Events of the set-up are told right after that. */
export async function startTunnel(
  options: TunnelOptions,
  settings: TunConnectorSettings = {},
): Promise<RunningTunnel> {
  const tunnel = new TunConnector(options, settings);
  await tunnel.start();
  return tunnel;
}
