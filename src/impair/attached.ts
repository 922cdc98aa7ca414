/** Asks the impairments of a network what they did, in whichever thread it runs. */
import type { MessagePort } from 'node:worker_threads';
import type { Attachable, Attached } from '../engine/attach.ts';
import type { Network } from '../engine/network.ts';
import { TunconnectorError } from '../errors.ts';
import { Impair } from './impair.ts';
import type { ImpairInspection } from './inspect.ts';

/** By the name of the app. */
export type Inspections = Record<string, ImpairInspection>;

export interface InspectOptions {
  /** Most flows to list of each. Default 20. */
  top?: number;
}

function inspections(network: Network, top: number | undefined): Inspections {
  const apps = Object.keys(network.config.apps).map((name) => [name, network.get(name)] as const);
  return Object.fromEntries(
    apps.flatMap(([name, app]) => (app instanceof Impair ? [[name, app.inspect(top)] as const] : [])),
  );
}

/** To be attached: answers each message with the inspections of that time. */
export const inspectImpairments: Attached<InspectOptions | undefined, Inspections> = (
  network,
  options,
  port,
) => {
  port.on('message', () => port.postMessage(inspections(network, options?.top)));
  return inspections(network, options?.top);
};

export interface Inspector {
  inspect(): Promise<Inspections>;
  close(): void;
}

/** One question at a time: who asks again before the answer is there gets the same answer. */
export async function inspector(network: Attachable, options: InspectOptions = {}): Promise<Inspector> {
  const { port } = await network.attach<Inspections>({
    module: import.meta.url,
    export: 'inspectImpairments',
    options,
  });
  let asked: Promise<Inspections> | undefined;
  let closed = false;
  port.once('close', () => {
    closed = true;
  });
  return {
    inspect: () => {
      if (closed) return Promise.reject(gone());
      asked ??= ask(port).finally(() => {
        asked = undefined;
      });
      return asked;
    },
    close: () => port.close(),
  };
}

const gone = () => new TunconnectorError('ERR_CLOSED', 'the network is closed');

function ask(port: MessagePort): Promise<Inspections> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(gone());
    port.once('message', (answer: Inspections) => {
      port.off('close', ended);
      resolve(answer);
    });
    port.once('close', ended);
    port.postMessage(null);
  });
}
