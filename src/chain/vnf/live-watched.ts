/**
 * Runs a function in a thread that is watched. One that hangs is ended and another takes its place, with the state of flows that
 * was told last; so is one whose thread ended. A reload is a new thread that takes over all of the state; what comes meanwhile waits
 * in sockets that belong to the process.
 */
import { EventEmitter } from 'node:events';
import { existsSync, type StatsListener, unwatchFile, watchFile } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { type AppEvent, type AppSpec, isSpec } from '../../engine/app.ts';
import type { Attachable } from '../../engine/attach.ts';
import type { NetworkConfig } from '../../engine/config.ts';
import { built, WorkerNetwork } from '../../engine/live-worker.ts';
import type { NetworkReport } from '../../engine/report.ts';
import { TunconnectorError } from '../../errors.ts';
import { READY_MADE } from '../functions/index.ts';
import { warmUp } from '../warm/live-warm-up.ts';
import type { TwinOptions } from '../warm/twin.ts';
import type { VnfExport } from './app.ts';
import type { ExportedFlow } from './flows.ts';
import type { LoadOptions, StateMessage } from './live-function-thread.ts';

/** ms between two looks at the sign of life, and without one before the thread counts as hung. */
const LOOK = 50;
const HUNG = 400;
/** ms that a module may take to load. */
const LOAD_LIMIT = 10_000;
/** ms between two looks at the file. */
const FILE_LOOK = 500;
/** Flows whose state is kept for one that follows. */
const FLOWS = 65_536;

export interface WatchedOptions {
  /** A file that exports what `defineVnf` makes, or the name of a ready-made function. */
  function: string;
  /** Checked before anything runs. */
  options?: unknown;
  /** The network of the function, which is the app `vnf`. The same for each thread: its sockets belong to the process. */
  network(vnf: AppSpec): NetworkConfig;
  /** Apps of it that read from sockets: they pause before a thread hands over. */
  ports: readonly string[];
  /** Modules that a thread will need to take over: it loads them before, not while packets wait. */
  modules?: readonly string[];
  /** Called with each network once it runs, the first too, and the function's own name: for control halves. */
  joined?(network: Attachable, name: string): Promise<void>;
  /** Called when a network has handed over and is closed, before the next begins: what is beside it may be completed. */
  left?(): Promise<void>;
  /** Reload when the file changes. Default false. */
  watch?: boolean;
  /** Packets of a chain of their own run through each thread before it takes over. */
  warmUp?: TwinOptions;
  /** Bytes of packet memory. */
  memory?: number;
}

interface WatchedEvents {
  /** Something an app wants known. */
  event: [app: string, event: AppEvent];
  /** Another thread has taken the place of one that hung or ended. */
  replaced: [why: 'hung' | 'ended'];
  /** A new thread has taken over. */
  reloaded: [];
  /** The old one goes on. */
  refused: [error: unknown];
  /** There is none, and there cannot be one. */
  error: [error: unknown];
}

/** The thread in charge. */
interface Running {
  network: WorkerNetwork;
  cell: Int32Array;
  beat: number;
  /** Looks since it changed. */
  silent: number;
}

export class WatchedFunction extends EventEmitter<WatchedEvents> {
  /** The function's own. */
  name = '';
  readonly #options: WatchedOptions;
  readonly #load: LoadOptions;
  readonly #file: string | undefined;
  #running: Running | undefined;
  /** What the thread in charge told of its state. */
  #state: unknown;
  readonly #flows = new Map<string, { flow: ExportedFlow; at: number }>();
  /** A thread that has loaded the function already: where one hangs, half of the time would go into that. */
  #spare: Promise<WorkerNetwork | undefined> = Promise.resolve(undefined);
  #timer: NodeJS.Timeout | undefined;
  #changing: Promise<void> = Promise.resolve();
  #closed = false;
  readonly #onFile: StatsListener = (now, before) => {
    if (now.mtimeMs !== before.mtimeMs && now.mtimeMs !== 0) void this.reload().catch(() => {});
  };

  private constructor(options: WatchedOptions) {
    super();
    this.#options = options;
    const ready = READY_MADE.get(options.function) as ((options: unknown) => AppSpec) | undefined;
    if (ready !== undefined) {
      const { module, export: name } = ready(options.options);
      // As a worker knows it: what is built of it.
      this.#load = { url: built(module), export: name, options: options.options ?? {} };
      return;
    }
    const file = path.resolve(options.function);
    if (!existsSync(file)) {
      throw new TunconnectorError(
        'ERR_CONFIG',
        `${options.function} is neither a file nor a ready-made function`,
        {
          remedy: `give a file, or one of ${[...READY_MADE.keys()].join(', ')}`,
        },
      );
    }
    this.#file = file;
    this.#load = { url: pathToFileURL(file).href, options: options.options ?? {} };
  }

  /**
   * Packets flow when it resolves.
   * @throws ERR_CONFIG for a file that does not load, exports no function, or does not take the options; and what the network throws
   */
  static async start(options: WatchedOptions): Promise<WatchedFunction> {
    const watched = new WatchedFunction(options);
    const network = await watched.#prepare();
    await watched.#take(network, undefined);
    watched.#renewSpare();
    watched.#timer = setInterval(() => watched.#look(), LOOK);
    if (options.watch && watched.#file) watchFile(watched.#file, { interval: FILE_LOOK }, watched.#onFile);
    return watched;
  }

  /** A thread with the function loaded, and no network yet. */
  async #prepare(): Promise<WorkerNetwork> {
    const { memory } = this.#options;
    const network = new WorkerNetwork(memory === undefined ? {} : { memory });
    // What it says until it is in charge is in the answers.
    network.on('error', () => {});
    const module = threadModule();
    let timer: NodeJS.Timeout | undefined;
    try {
      const late = new Promise<never>((_, reject) => {
        const error = new TunconnectorError(
          'ERR_CONFIG',
          `${this.#options.function} does not load within 10 s`,
        );
        timer = setTimeout(() => reject(error), LOAD_LIMIT);
      });
      const attached = network.attach<string>({ module, export: 'loadFunction', options: this.#load });
      const { result, port } = await Promise.race([attached, late]);
      port.close();
      this.name = result;
      await this.#warmUp(network);
      const modules = [...(this.#options.modules ?? []), ...modulesOf(this.#options, this.#load)];
      (await network.attach({ module, export: 'loadModules', options: modules.map(built) })).port.close();
      return network;
    } catch (error) {
      await network.terminate();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #warmUp(network: WorkerNetwork): Promise<void> {
    const { warmUp: twin } = this.#options;
    if (!twin) return;
    const { url: module, export: name, options } = this.#load;
    const readyMade = this.#file === undefined && name !== undefined;
    await warmUp(network, { ...twin, ...(readyMade && { function: { module, export: name, options } }) });
  }

  /** Another spare, with the function as it is now. */
  #renewSpare(): void {
    const former = this.#spare;
    this.#spare = former
      .then((network) => network?.terminate())
      // What does not load now is told when it is needed.
      .then(() => (this.#closed ? undefined : this.#prepare()))
      .catch(() => undefined);
  }

  /** The spare, if there is one. */
  async #next(): Promise<WorkerNetwork> {
    const spare = this.#spare;
    this.#spare = Promise.resolve(undefined);
    return (await spare) ?? this.#prepare();
  }

  /** Puts a thread in charge. */
  async #take(network: WorkerNetwork, state: VnfExport | undefined): Promise<void> {
    const module = threadModule();
    try {
      if (state) (await network.attach({ module, export: 'inheritState', options: state })).port.close();
      network.on('event', (app, event) => this.emit('event', app, event));
      await network.reconfigure(
        this.#options.network({ module, export: 'loadedFunction', options: this.#load.options }),
      );
      const memory = new SharedArrayBuffer(4);
      const { port } = await network.attach({ module, export: 'watchFunction', options: memory });
      port.on('message', (message: StateMessage) => this.#remember(message));
      port.unref();
      this.#running = { network, cell: new Int32Array(memory), beat: 0, silent: 0 };
      network.on('error', () => this.#lost(network, 'ended'));
      await this.#options.joined?.(network, this.name);
    } catch (error) {
      this.#running = undefined;
      await network.terminate();
      throw error;
    }
  }

  #remember({ state, flows }: StateMessage): void {
    if (state !== undefined) this.#state = state;
    const at = performance.now();
    for (let i = flows.length - 1; i >= 0; i--) {
      const flow = flows[i];
      // To the end of the map's order: the first in it has been silent longest.
      this.#flows.delete(flow.id);
      this.#flows.set(flow.id, { flow, at });
    }
    for (const id of this.#flows.keys()) {
      if (this.#flows.size <= FLOWS) break;
      this.#flows.delete(id);
    }
  }

  #known(): VnfExport {
    const now = performance.now();
    const flows = [...this.#flows.values()].reverse().map(({ flow, at }) => ({
      ...flow,
      age: flow.age + Math.round((now - at) * 1e6),
    }));
    return { name: this.name, flows, ...(this.#state === undefined ? {} : { state: this.#state }) };
  }

  #look(): void {
    const running = this.#running;
    if (running === undefined) return;
    const beat = Atomics.load(running.cell, 0);
    // Looks are counted, and not time: where this thread stood still, the other may have as well.
    if (beat !== running.beat) running.silent = 0;
    else if (++running.silent * LOOK >= HUNG) this.#lost(running.network, 'hung');
    running.beat = beat;
  }

  #lost(network: WorkerNetwork, why: 'hung' | 'ended'): void {
    if (this.#running?.network !== network || this.#closed) return;
    this.#running = undefined;
    this.#changing = this.#changing.then(async () => {
      if (this.#closed) return;
      try {
        // It reads nothing any more, and its end takes a while.
        const ended = network.terminate();
        await this.#take(await this.#next(), this.#known());
        await ended;
        this.#renewSpare();
        this.emit('replaced', why);
      } catch (error) {
        this.emit('error', error);
      }
    });
  }

  /**
   * Loads the function anew; the new one takes over flows and state, and no packet is lost.
   * @throws what is wrong with the new one; the old one goes on
   */
  reload(): Promise<void> {
    const reloaded = this.#changing.then(() => this.#reload());
    this.#changing = reloaded.catch(() => {});
    return reloaded;
  }

  async #reload(): Promise<void> {
    if (this.#closed || this.#running === undefined)
      throw new TunconnectorError('ERR_CLOSED', 'the function is closed');
    const old = this.#running.network;
    let next: WorkerNetwork;
    try {
      next = await this.#prepare();
    } catch (error) {
      this.emit('refused', error);
      throw error;
    }
    // It may have been lost meanwhile: then what it told last has to do.
    this.#running = undefined;
    const module = threadModule();
    const handed = await old
      .attach<VnfExport | undefined>({ module, export: 'handOver', options: this.#options.ports })
      .then(
        ({ result }) => result,
        () => this.#known(),
      );
    let ended: Promise<void> | undefined;
    try {
      await this.#options.left?.();
      // All of it is closed: packets need not wait for the end of the thread.
      ended = old.terminate();
      await this.#take(next, handed && { ...handed, name: this.name });
    } catch (error) {
      this.emit('error', error);
      throw error;
    } finally {
      await (ended ?? old.terminate());
    }
    this.#renewSpare();
    this.emit('reloaded');
  }

  /** Of the network; between two threads that of the next. @throws ERR_CLOSED when there is none */
  async report(): Promise<NetworkReport> {
    if (this.#running === undefined) await this.#changing;
    if (this.#running) return this.#running.network.report();
    throw new TunconnectorError('ERR_CLOSED', 'no thread runs the function now');
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    if (this.#file) unwatchFile(this.#file, this.#onFile);
    const running = this.#running;
    this.#running = undefined;
    await running?.network.close();
    await this.#changing;
    // One that took over meanwhile.
    const later = this.#running as Running | undefined;
    await later?.network.close();
    await (await this.#spare)?.terminate();
  }
}

/** Of the apps in its network. */
const modulesOf = ({ network }: WatchedOptions, { options }: LoadOptions): string[] =>
  Object.values(network({ module: threadModule(), export: 'loadedFunction', options }).apps)
    .filter(isSpec)
    .map(({ module }) => String(module));

/** Where the thread's part is; a network in a worker finds what is built of it. */
const threadModule = (): string => {
  const source = import.meta.url.endsWith('.ts');
  return new URL(source ? './live-function-thread.ts' : './live-function-thread.js', import.meta.url).href;
};
