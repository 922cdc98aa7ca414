/** Functions that run beside a network, in its thread: control halves that need the running apps themselves. */
import type { MessagePort } from 'node:worker_threads';
import { TunconnectorError } from '../errors.ts';
import type { Network } from './network.ts';

/** What `attach` runs: a function by the module that exports it. */
export interface AttachSpec {
  module: URL | string;
  export: string;
  /** Whatever can be cloned between threads. */
  options?: unknown;
}

/**
 * A function to attach. It runs between breaths; what it returns goes back as `result`, and `port` is the other end of
 * the port that `attach` gives. When the network is closed the thread ends, and the port with it.
 */
export type Attached<Options = unknown, Result = unknown> = (
  network: Network,
  options: Options,
  port: MessagePort,
) => Result | Promise<Result>;

/** A network that functions can be attached to, in whichever thread it runs. */
export interface Attachable {
  attach<Result = unknown>(spec: AttachSpec): Promise<{ result: Result; port: MessagePort }>;
}

/** @throws ERR_CONFIG when there is no such module or function */
export async function attachedFunction(module: string, name: string): Promise<Attached> {
  const exports = (await import(module).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new TunconnectorError('ERR_CONFIG', `${module} cannot be imported: ${why}`);
  })) as Record<string, unknown>;
  const found = exports[name];
  if (typeof found === 'function') return found as Attached;
  throw new TunconnectorError('ERR_CONFIG', `${module} exports no function "${name}"`);
}
