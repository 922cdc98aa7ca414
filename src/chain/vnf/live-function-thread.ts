/**
 * What runs of a watched function in its thread: loads it, says that it is alive, tells of its state, and hands everything over to
 * the one that follows it.
 */
import { register } from 'node:module';
import type { App, AppFactory } from '../../engine/app.ts';
import type { Attached } from '../../engine/attach.ts';
import { TunconnectorError } from '../../errors.ts';
import type { VnfApp, VnfExport } from './app.ts';
import { defineVnf, isVnf, type PlainVnf, type Vnf } from './define.ts';
import type { ExportedFlow } from './flows.ts';

/** ms between two signs of life. */
export const BEAT = 50;
/** Beats from one message of state to the next. */
const STATE_BEATS = 4;
/** Flows in one message. */
const FLOWS = 4096;
/** ms that packets which are held may take to leave at a hand-over. */
const DRAIN = 1000;

/** The name of the app in its network. */
const NAME = 'vnf';

export interface StateMessage {
  name: string;
  state?: unknown;
  flows: ExportedFlow[];
}

/** An app that has state to hand over. */
type Stateful = App & Partial<Pick<VnfApp, 'exportState' | 'importState' | 'exportFlows'>>;

let loaded: Vnf<unknown> | undefined;
let inherited: VnfExport | undefined;
let hooked = false;

export interface LoadOptions {
  /** Of the module. */
  url: string;
  /** Of the export; the default one when left out. */
  export?: string;
  options: unknown;
}

/** Loads a function, and checks its options. To be attached. @throws ERR_CONFIG */
export const loadFunction: Attached<LoadOptions, string> = async (
  _network,
  { url, export: name, options },
) => {
  if (!hooked) register(new URL('./live-module-hooks.js', import.meta.url));
  hooked = true;
  const file = url.startsWith('file:') ? decodeURIComponent(new URL(url).pathname) : url;
  const exports = (await import(url).catch((error: unknown) => {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new TunconnectorError('ERR_CONFIG', `${file} cannot be loaded: ${why}`);
  })) as Record<string, unknown>;
  const found = exports[name ?? 'default'] as PlainVnf<unknown> | Vnf<unknown> | undefined;
  if (isVnf(found)) loaded = found;
  else if (typeof found === 'object' && found !== null) loaded = defineVnf(found) as Vnf<unknown>;
  else {
    throw new TunconnectorError('ERR_CONFIG', `${file} has no function as its default export`, {
      remedy: 'export default defineVnf({ name, process })',
    });
  }
  loaded.check(options);
  return loaded.vnf;
};

/** The function that was loaded, as an app of a network that is data. */
export const loadedFunction = Object.assign(() => undefined, {
  check: (options: unknown) => loaded!.check(options),
  create: (options: unknown): App => {
    const app: Stateful = loaded!.create(options);
    if (inherited) app.importState?.(inherited);
    inherited = undefined;
    return app;
  },
}) as unknown as AppFactory<unknown>;

/** Loads what it will need. To be attached. */
export const loadModules: Attached<readonly string[]> = async (_network, modules) => {
  // What cannot be loaded is told by who needs it.
  await Promise.all(modules.map((module) => import(module).catch(() => {})));
};

/** State for the app that will be made. To be attached before the network has it. */
export const inheritState: Attached<VnfExport> = (_network, state) => {
  inherited = state;
};

/** Says that the thread is alive in a shared cell, and tells of the state of flows that had packets. To be attached. */
export const watchFunction: Attached<SharedArrayBuffer> = (network, memory, port) => {
  const cell = new Int32Array(memory);
  const app = network.get<Stateful>(NAME);
  let told = Number.NEGATIVE_INFINITY;
  let beats = 0;
  const timer = setInterval(() => {
    Atomics.add(cell, 0, 1);
    if (++beats % STATE_BEATS !== 0 || !app.exportState) return;
    const now = network.runtime.now();
    const message: StateMessage | undefined = app.exportFlows
      ? { ...head(app), flows: app.exportFlows(told, FLOWS) }
      : app.exportState();
    told = now;
    if (message && (message.flows.length > 0 || message.state !== undefined)) port.postMessage(message);
  }, BEAT);
  timer.unref();
};

/** What is not of a flow. */
function head(app: Stateful): Omit<VnfExport, 'flows'> {
  const vnf = app as VnfApp;
  const state = vnf.exportOwnState();
  return { name: vnf.function, ...(state === undefined ? {} : { state }) };
}

/**
 * Ends the network, and says what its function knows: ports take nothing in any more, what is held may leave, then all is closed. What
 * comes meanwhile waits in the sockets. To be attached.
 */
export const handOver: Attached<readonly string[], VnfExport | undefined> = async (network, ports) => {
  for (const name of ports) network.get<App & { pause?(): void }>(name).pause?.();
  const app = network.get<Stateful>(NAME);
  const { runtime } = network;
  const limit = runtime.now() + DRAIN * 1e6;
  // A turn, so that what was read already is through; then as long as something is held.
  do await new Promise((resolve) => setTimeout(resolve, 2));
  while ((app.held?.() ?? 0) > 0 && runtime.now() < limit);
  await network.close();
  return app.exportState?.();
};
