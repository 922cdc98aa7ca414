/**
 * `defineVnf`: turns a function over packets into an app of a network. What it makes is an app factory, so that a file which
 * exports it by default can be run by name in any thread.
 */
import { z } from 'zod';
import { type AppFactory, defineApp } from '../../engine/app.ts';
import { configError } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { VnfApp } from './app.ts';
import type { VnfContext } from './context.ts';
import type { VnfFlow } from './flows.ts';
import type { VnfPacket } from './packet.ts';

/**
 * What becomes of a packet: it goes on; it ends (`ctx.drop(reason)` says why); it goes back to where it came from; it stays under
 * `ctx.ticket` until `ctx.release`.
 */
export type Verdict = 'forward' | 'drop' | 'reply' | 'hold';

export interface VnfFunction<State = unknown> {
  /** Called with each packet. What it throws costs that packet, and is reported. */
  process(packet: VnfPacket, flow: VnfFlow<State>, ctx: VnfContext): Verdict;
  /** What a new flow's `state` is at first: JSON, if it is to survive a reload. */
  state?(flow: VnfFlow<State>): State;
  /** A flow has ended: it was silent for `idle`, or the table was full. */
  flowEnded?(state: State, ctx: VnfContext): void;
  /** Before the first packet. */
  open?(ctx: VnfContext): void | Promise<void>;
  /** After the last. */
  close?(ctx: VnfContext): void | Promise<void>;
  /** True when it handles superframes; otherwise it gets packets as they are on a wire. */
  superframes?: boolean;
  /** Flows that are told apart at a time (default 65536). */
  flows?: number;
  /** A flow ends when it was silent for so long (default 300s): text, or ns. */
  idle?: string | number;
  /** Packets that it may hold (default 256), and for how long (default 1s). */
  hold?: { packets?: number; time?: string | number };
  /** What else must survive a reload: JSON. */
  exportState?(): unknown;
  importState?(value: unknown): void;
  /** A flow's state as JSON, where it is not JSON itself. */
  exportFlow?(state: State): unknown;
  importFlow?(value: unknown): State;
}

/** Where a module exports it, for threads and processes that are to run it by data. */
interface Place {
  /** `import.meta.url`. */
  module?: string;
  /** Default `default`. */
  export?: string;
}

export interface PlainVnf<State> extends VnfFunction<State>, Place {
  /** For reports. */
  name: string;
}

export interface VnfWithOptions<State, Options, Checked> extends Place {
  name: string;
  /** What its options are; `tunconnector vnf FILE --option key=value` is checked against it. */
  options: z.ZodType<Checked, Options>;
  create(options: Checked): VnfFunction<State>;
}

/** What `defineVnf` makes: call it with options for an app of a network. */
export interface Vnf<Options> extends AppFactory<Options> {
  readonly vnf: string;
}

const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const none = z.strictObject({});

/** @example export default defineVnf({ name: 'no-telnet', process: (packet) => (packet.tcp?.destinationPort === 23 ? 'drop' : 'forward') }) */
export function defineVnf<State = unknown>(definition: PlainVnf<State>): Vnf<Record<string, never>>;
/** @example defineVnf({ name: 'no-port', options: z.strictObject({ port: z.number() }), create: ({ port }) => ({ process: … }) }) */
export function defineVnf<State = unknown, Options = unknown, Checked = unknown>(
  definition: VnfWithOptions<State, Options, Checked>,
): Vnf<Options>;
export function defineVnf<State, Options, Checked>(
  definition: PlainVnf<State> | VnfWithOptions<State, Options, Checked>,
): Vnf<Options> {
  const { name, module = '', export: exported = 'default' } = definition;
  if (typeof name !== 'string' || !NAME.test(name) || name.length > 64)
    throw configError(
      `a function's name: found ${JSON.stringify(name)}, expected lower case words joined by hyphens`,
    );
  const configurable = 'options' in definition;
  if (!configurable && typeof definition.process !== 'function')
    throw configError(`the function ${name}: expected "process", a function of packet, flow and ctx`);
  const make = (options: Checked): VnfFunction<State> => {
    const made = configurable ? definition.create(options) : definition;
    if (typeof made?.process === 'function') return made;
    throw configError(`the function ${name}: "create" made nothing with "process"`);
  };
  const factory = defineApp<Options, Checked>({
    module,
    export: exported,
    check: (options) =>
      configurable
        ? checkOptions(definition.options, options)
        : (checkOptions(none, options) as unknown as Checked),
    create: (options) => new VnfApp(name, make(options) as VnfFunction),
  });
  return Object.assign(factory, { vnf: name });
}

/** Whether a value is what `defineVnf` makes. */
export const isVnf = (value: unknown): value is Vnf<unknown> =>
  typeof value === 'function' && typeof (value as Vnf<unknown>).vnf === 'string';
