/**
 * A network as its owner sees it, wherever it runs: in this thread or in one of its own. Described by data, and asked
 * and told by messages; what needs the running apps themselves is attached to it, and runs where they do.
 */
import { EventEmitter } from 'node:events';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { AppEvent, AppSpec } from './app.ts';
import { type Attachable, type AttachSpec, attachedFunction } from './attach.ts';
import type { NetworkConfig } from './config.ts';
import { liveRuntime } from './live-runtime.ts';
import { WorkerNetwork } from './live-worker.ts';
import { Network, type NetworkOptions } from './network.ts';
import type { NetworkReport } from './report.ts';

/** `main`: the thread that asks for it. `worker`: one of its own, which nothing else holds up. */
export type Thread = 'main' | 'worker';

export interface HostedEvents {
  /** Something an app wants known. */
  event: [app: string, event: AppEvent];
  /** An app threw, or the thread ended. The network has stopped; close it. */
  error: [error: unknown];
}

export interface HostedNetwork extends EventEmitter<HostedEvents>, Attachable {
  /** Packets flow when it resolves. Listen before: apps have things to tell while they open. */
  start(config: NetworkConfig): Promise<void>;
  /** Puts apps in place of those of the same names, in one commit; all or nothing. */
  replace(apps: Record<string, AppSpec>): Promise<void>;
  report(): Promise<NetworkReport>;
  close(): Promise<void>;
}

/** A network that `start` will start. A thread of its own begins at once. */
export function hostNetwork(thread: Thread, options: NetworkOptions = {}): HostedNetwork {
  return thread === 'worker' ? new NetworkElsewhere(options) : new NetworkHere(options);
}

export class NetworkHere extends EventEmitter<HostedEvents> implements HostedNetwork {
  readonly network: Network;
  readonly #ports = new Set<MessagePort>();

  constructor(options: NetworkOptions = {}) {
    super();
    this.network = new Network(liveRuntime(), options);
    this.network.on('event', (app, event) => this.emit('event', app, event));
    this.network.on('error', (error) => this.emit('error', error));
  }

  async start({ apps, links }: NetworkConfig): Promise<void> {
    for (const [name, app] of Object.entries(apps)) this.network.app(name, app);
    for (const link of links) this.network.link(link);
    await this.network.start();
  }

  async replace(apps: Record<string, AppSpec>): Promise<void> {
    for (const [name, app] of Object.entries(apps)) this.network.app(name, app);
    await this.network.commit();
  }

  async report(): Promise<NetworkReport> {
    return this.network.report();
  }

  async attach<Result = unknown>(spec: AttachSpec): Promise<{ result: Result; port: MessagePort }> {
    const { port1, port2 } = new MessageChannel();
    try {
      const attached = await attachedFunction(String(spec.module), spec.export);
      const result = (await attached(this.network, spec.options, port2)) as Result;
      // The network is what keeps this thread going, not who may talk to it.
      port2.unref();
      this.#ports.add(port2);
      port2.once('close', () => this.#ports.delete(port2));
      return { result, port: port1 };
    } catch (error) {
      port1.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.network.close();
    for (const port of this.#ports) port.close();
  }
}

class NetworkElsewhere extends EventEmitter<HostedEvents> implements HostedNetwork {
  readonly #worker: WorkerNetwork;
  #config: NetworkConfig = { apps: {}, links: [] };

  constructor({ memory }: NetworkOptions) {
    super();
    this.#worker = new WorkerNetwork(memory === undefined ? {} : { memory });
    this.#worker.on('event', (app, event) => this.emit('event', app, event));
    this.#worker.on('error', (error) => this.emit('error', error));
  }

  async start(config: NetworkConfig): Promise<void> {
    await this.#worker.reconfigure(config);
    this.#config = config;
  }

  replace(apps: Record<string, AppSpec>): Promise<void> {
    return this.start({ apps: { ...this.#config.apps, ...apps }, links: this.#config.links });
  }

  report(): Promise<NetworkReport> {
    return this.#worker.report();
  }

  attach<Result = unknown>(spec: AttachSpec): Promise<{ result: Result; port: MessagePort }> {
    return this.#worker.attach<Result>(spec);
  }

  close(): Promise<void> {
    return this.#worker.close();
  }
}
