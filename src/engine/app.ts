/**
 * An app is something with named inputs and outputs: a filter, a tunnel end, a port, a proxy, a TCP stack. It gets
 * packets in bursts, as integers, and it alone decides what becomes of them.
 */
import type { Link } from './link.ts';
import type { Pool } from './pool.ts';
import type { RandomStream } from './random.ts';
import type { Runtime, Watch } from './runtime.ts';

/** What a link carries. `datagram` is the payload of an outer UDP datagram or stream record, with its peer. */
export type Layer = 'L2' | 'L3' | 'datagram';

/** What `push` and `pull` work on. The same object every time; it belongs to the network. */
export interface Ports {
  readonly pool: Pool;
  /** By name, the links into this app. A name without a link is absent. */
  readonly input: Record<string, Link>;
  /** By name, the links out of this app. */
  readonly output: Record<string, Link>;
  /** Integer nanoseconds since the runtime's start, read once per round. */
  readonly now: number;
}

/** What an app may hold on to between rounds, beyond what waits on its links. Reserved when the network commits. */
export interface Limits {
  /** Packets in small slots. */
  packets: number;
  /** Superframes in large slots. */
  superframes?: number;
}

export interface AppContext {
  /** The app's name in its network. */
  readonly name: string;
  readonly pool: Pool;
  readonly runtime: Runtime;
  /** The account that pays for packets this app brings in. */
  readonly account: number;
  /** A random stream named after the app. */
  readonly random: RandomStream;
  /** Something happened outside of the packet path: call `pull` and `push` soon. */
  wake(): void;
  /** Tells when a descriptor is ready (live only); wakes the app then. */
  watch(fd: number): Watch;
  /** Tells the owner of the network something: `network.on('event', (app, event) => ...)`. Plain data only. */
  emit(event: AppEvent): void;
}

export interface AppEvent {
  type: string;
  [key: string]: unknown;
}

/** Plain numbers and words about what an app did. */
export type AppReport = Record<string, number | string | boolean>;

export interface App {
  /** Input names it understands; any when left out. */
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
  /** Names without which it cannot run. */
  readonly required?: readonly string[];
  /** What each input or output carries, by name. One that is left out carries what its neighbours carry. */
  readonly layers?: Readonly<Record<string, Layer>>;
  /** True when it handles superframes; otherwise the engine cuts them before they reach this app. */
  readonly superframes?: boolean;
  /** For each input, the outputs its packets may leave through; all when left out. A port's input leads to none. */
  readonly paths?: Readonly<Record<string, readonly string[]>>;
  /** The most packets that one packet may turn into on one output (default 1). */
  readonly expansion?: number;
  readonly limits?: Limits;

  /** Gets its descriptors and memory. Whatever it throws undoes the commit. */
  open?(context: AppContext): void | Promise<void>;
  /**
   * Brings in at most `room` packets from outside. Returns whether more may be waiting there; when it says no,
   * it is called again after a `wake` or when a watched descriptor is ready.
   */
  pull?(ports: Ports, room: number): boolean;
  /** Moves what waits on its inputs. Runs when there is input, when it is due, and after a `wake`. */
  push?(ports: Ports): void;
  /** When it must run again though nothing arrives: ns, or Infinity. Asked after each run. */
  nextDeadline?(): number;
  /** The same as one cell that it keeps up to date, for apps with much to do: a number that is returned is garbage. */
  readonly due?: Float64Array;
  /** Packets it holds. A removed app stays until this is 0 and its inputs are empty. */
  held?(): number;
  /** Whether it can take these (checked) options in place; otherwise it is replaced. Yes, when left out. */
  canReconfigure?(options: unknown): boolean;
  /** Takes new options in place, keeping what it holds. They were checked; it must not throw. */
  reconfigure?(options: unknown): void;
  report?(): AppReport;
  /** It is about to be closed, alone or with the network: last words may still be put on the outputs. */
  finish?(ports: Ports): void;
  /** Gives everything back, packets too. */
  close?(): void | Promise<void>;
}

/**
 * An app described by data, so that a network can be printed, compared, and run in a worker.
 * Made by the function that `defineApp` returns.
 */
export interface AppSpec {
  /** URL of the module, or the name of a package. */
  readonly module: string;
  /** The export that `defineApp` made. */
  readonly export: string;
  /** JSON. */
  readonly options: unknown;
}

/** What `defineApp` returns: call it for a spec; it also knows how to make the app. */
export interface AppFactory<Options> {
  (options: Options): AppSpec;
  /** Throws ERR_CONFIG when the options do not fit; otherwise returns them with defaults filled in. */
  check(options: unknown): unknown;
  create(options: unknown): App;
}

export interface AppDefinition<Options, Checked> {
  /** `import.meta.url` of the module that exports the result. */
  module: string;
  /** The name under which it does. */
  export: string;
  /** Validates and completes options; throws ERR_CONFIG. */
  check(options: Options): Checked;
  create(options: Checked): App;
}

const factories = new WeakMap<AppSpec, AppFactory<never>>();

/**
 * Turns a class into something a network can be told by data.
 * @example export const dropOdd = defineApp({ module: import.meta.url, export: 'dropOdd', check: (o: {}) => o, create: () => new DropOdd() })
 */
export function defineApp<Options, Checked>(
  definition: AppDefinition<Options, Checked>,
): AppFactory<Options> {
  const factory = (options: Options): AppSpec => {
    const spec = { module: definition.module, export: definition.export, options: options ?? {} };
    factories.set(spec, factory as AppFactory<never>);
    return spec;
  };
  factory.check = (options: unknown) => definition.check(options as Options);
  factory.create = (options: unknown) => definition.create(definition.check(options as Options));
  return factory;
}

/** The factory behind a spec: known when it was made in this thread, imported by name otherwise. */
export async function factoryOf(spec: AppSpec): Promise<AppFactory<never> | undefined> {
  const known = factories.get(spec);
  if (known) return known;
  const module: Record<string, unknown> = await import(spec.module);
  const found = module[spec.export] as AppFactory<never> | undefined;
  return typeof found === 'function' && typeof found.create === 'function' ? found : undefined;
}

export function isSpec(app: App | AppSpec): app is AppSpec {
  return typeof (app as AppSpec).module === 'string' && typeof (app as AppSpec).export === 'string';
}
