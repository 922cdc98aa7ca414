/**
 * A network in a thread of its own: described by data, driven by messages. The thread imports the module of each spec
 * and runs the network on a live runtime; what is asked of it is answered between breaths.
 */
import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { type ErrorCode, type Place, TunconnectorError } from '../errors.ts';
import { type AppEvent, type AppSpec, isSpec } from './app.ts';
import type { Attachable, AttachSpec } from './attach.ts';
import { configError, type NetworkConfig } from './config.ts';
import type { NetworkReport } from './report.ts';

/** How long a network may take to close before its thread is ended, ms. */
const CLOSE_LIMIT = 2_000;

export interface WorkerOptions {
  /** Bytes of packet memory, as for a network in this thread. */
  memory?: number;
  /** Seed of the random streams; drawn when left out. */
  seed?: number;
}

interface WorkerEvents {
  /** Something an app wants known. */
  event: [app: string, event: AppEvent];
  /** An app threw, or the thread ended. The network has stopped; `close` it. */
  error: [error: unknown];
}

export type Request =
  | { do: 'reconfigure'; config: SpecConfig }
  | { do: 'report' }
  | { do: 'attach'; module: string; export: string; options: unknown; port: MessagePort }
  | { do: 'close' };

export type Answer =
  | { kind: 'answer'; id: number; result?: unknown; error?: PlainError }
  | { kind: 'event'; app: string; event: AppEvent }
  | { kind: 'error'; error: PlainError };

/** An error as data: what survives the way between threads. */
export interface PlainError {
  message: string;
  code?: string;
  syscall?: string;
  errno?: string;
  remedy?: string;
  place?: Place;
  stack?: string;
}

/** A network as data only. */
export interface SpecConfig {
  apps: Record<string, AppSpec>;
  links: string[];
}

/**
 * Starts a network in a worker thread. Resolves when packets flow.
 *
 * @throws ERR_CONFIG for an app that is an instance and not a spec, naming it, and whatever committing the configuration
 *   throws; then the thread has ended
 */
export async function runInWorker(
  config: NetworkConfig,
  options: WorkerOptions = {},
): Promise<WorkerNetwork> {
  const checked = specsOnly(config);
  const network = new WorkerNetwork(options);
  try {
    await network.reconfigure(checked);
  } catch (error) {
    // What went wrong first is what counts.
    await network.close().catch(() => {});
    throw error;
  }
  return network;
}

export class WorkerNetwork extends EventEmitter<WorkerEvents> implements Attachable, AsyncDisposable {
  readonly #worker: Worker;
  readonly #waiting = new Map<
    number,
    { resolve: (result: unknown) => void; reject: (error: unknown) => void }
  >();
  #nextId = 1;
  #closing: Promise<void> | undefined;
  #ended = false;

  /** Begins with nothing to run; what is to be heard from the first moment on needs listeners before `reconfigure`. */
  constructor(options: WorkerOptions) {
    super();
    this.#worker = new Worker(threadFile(), { workerData: options, name: 'tunconnector' });
    this.#worker.on('message', (message: Answer) => this.#receive(message));
    // What no app threw: out of memory, a rejected promise nobody awaited.
    this.#worker.on('error', (error) => void setImmediate(() => this.#fail(error)));
    // Its last messages and its end may come in one go: whoever waits for an answer has a turn to listen first.
    this.#worker.on('exit', (code) => void setImmediate(() => this.#exited(code)));
  }

  /** The number Node gave the thread; -1 when it has ended. */
  get threadId(): number {
    return this.#worker.threadId;
  }

  /** As `Network.reconfigure`: one commit, all or nothing; what is equal to before keeps its state and its queue. */
  async reconfigure(config: NetworkConfig): Promise<void> {
    await this.#ask({ do: 'reconfigure', config: forThread(specsOnly(config)) });
  }

  async report(): Promise<NetworkReport> {
    return (await this.#ask({ do: 'report' })) as NetworkReport;
  }

  /**
   * Runs a function beside the network: an `Attached` that a module exports. For control halves that need the running
   * apps (captures, control sockets), and talk to this thread through `port`.
   *
   * @throws ERR_CONFIG when there is no such module or function, or the options cannot go to a worker, and whatever the
   *   function throws
   */
  async attach<Result = unknown>(spec: AttachSpec): Promise<{ result: Result; port: MessagePort }> {
    const { port1, port2 } = new MessageChannel();
    const module = built(String(spec.module));
    const request: Request = {
      do: 'attach',
      module,
      export: spec.export,
      options: spec.options,
      port: port2,
    };
    try {
      return { result: (await this.#ask(request, [port2])) as Result, port: port1 };
    } catch (error) {
      port1.close();
      throw error;
    }
  }

  /** Closes the network and ends its thread, within 2 s whatever its apps do. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends its thread at once, whatever it does: what hangs cannot be closed. Nothing is reported any more. */
  async terminate(): Promise<void> {
    this.#ended = true;
    this.#closing ??= Promise.resolve();
    await this.#worker.terminate();
    this.#rejectAll(new TunconnectorError('ERR_CLOSED', 'the network in the worker was ended'));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_LIMIT);
    });
    try {
      await Promise.race([this.#request({ do: 'close' }), limit]);
    } finally {
      clearTimeout(timer);
      this.#ended = true;
      await this.#worker.terminate();
    }
  }

  async #ask(request: Request, transfer?: MessagePort[]): Promise<unknown> {
    if (this.#closing || this.#ended) {
      throw new TunconnectorError('ERR_CLOSED', 'the network in the worker is closed');
    }
    return this.#request(request, transfer);
  }

  #request(request: Request, transfer: MessagePort[] = []): Promise<unknown> {
    if (this.#ended) return Promise.resolve(undefined);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      try {
        this.#worker.postMessage({ id, ...request }, transfer);
      } catch (error) {
        this.#waiting.delete(id);
        const why = error instanceof Error ? error.message : String(error);
        reject(
          new TunconnectorError('ERR_CONFIG', `options that cannot go to a worker: ${why}`, { cause: error }),
        );
      }
    });
  }

  #receive(message: Answer): void {
    if (message.kind === 'event') this.emit('event', message.app, message.event);
    else if (message.kind === 'error')
      setImmediate(() => this.#ended || this.emit('error', toError(message.error)));
    else {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) waiting?.reject(toError(message.error));
      else waiting?.resolve(message.result);
    }
  }

  #fail(error: unknown): void {
    this.#rejectAll(error);
    if (!this.#closing) this.emit('error', error);
  }

  #exited(code: number): void {
    const expected = this.#ended || this.#closing !== undefined;
    this.#ended = true;
    const error = new TunconnectorError(
      'ERR_CLOSED',
      `the worker of the network has ended with exit code ${code}`,
    );
    const wasWaiting = this.#rejectAll(error);
    // Who waits for an answer has the error already.
    if (!expected && !wasWaiting) this.emit('error', error);
  }

  #rejectAll(error: unknown): boolean {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const each of all) each.reject(error);
    return all.length > 0;
  }
}

/** Refuses instances: they live in this thread and cannot leave it. */
function specsOnly(config: NetworkConfig): SpecConfig {
  for (const [name, app] of Object.entries(config.apps)) {
    if (isSpec(app)) continue;
    throw configError(
      `apps.${name}: found an instance of ${app.constructor.name}, expected an app described by data`,
      'make it with a function of defineApp, as in sink({})',
    );
  }
  return config as SpecConfig;
}

// ── Run from the sources (by the tests), a thread needs what is built from them: Node 20 runs no TypeScript.

const SOURCE = new URL('../', import.meta.url).href;
const IS_SOURCE = import.meta.url.endsWith('.ts');

function threadFile(): URL {
  const file = new URL(
    built(new URL(IS_SOURCE ? './live-worker-thread.ts' : './live-worker-thread.js', import.meta.url).href),
  );
  if (existsSync(fileURLToPath(file))) return file;
  throw new TunconnectorError('ERR_CONFIG', `there is no ${fileURLToPath(file)}`, {
    remedy: 'run `npm run build`',
  });
}

/** `src/tun/tun.ts` -> `dist/tun/tun.js`; anything else stays as it is. */
export function built(module: string): string {
  if (!IS_SOURCE || !module.startsWith(SOURCE) || !module.endsWith('.ts')) return module;
  return new URL(`../dist/${module.slice(SOURCE.length, -3)}.js`, SOURCE).href;
}

function forThread(config: SpecConfig): SpecConfig {
  const apps: Record<string, AppSpec> = {};
  for (const [name, spec] of Object.entries(config.apps)) {
    apps[name] = { module: built(spec.module), export: spec.export, options: spec.options };
  }
  return { apps, links: config.links };
}

// ── Errors on their way between threads.

export function fromError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { message: String(error) };
  const { message, stack } = error;
  if (!(error instanceof TunconnectorError)) return { message, stack };
  const { code, syscall, errno, remedy, place } = error;
  return { message, stack, code, syscall, errno, remedy, place };
}

export function toError({ message, code, syscall, errno, remedy, place, stack }: PlainError): Error {
  // The remedy is part of the message already, and the class would add it again.
  const plain = remedy && message.endsWith(`; ${remedy}`) ? message.slice(0, -remedy.length - 2) : message;
  const error = code
    ? new TunconnectorError(code as ErrorCode, plain, { syscall, errno, remedy, place })
    : new Error(message);
  if (stack) error.stack = stack;
  return error;
}
