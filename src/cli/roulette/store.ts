/** `--store`: where the registry is kept. */
import path from 'node:path';
import { openEmbeddedStore } from '../../chain/roulette/embedded/embedded-store.ts';
import { lockFolder } from '../../chain/roulette/embedded/live-lock.ts';
import { openEtcdStore } from '../../chain/roulette/etcd/live-etcd-store.ts';
import type { TlsFiles } from '../../chain/roulette/remote/live-http.ts';
import type { RegistryStore } from '../../chain/roulette/store.ts';
import type { LiveRuntime } from '../../engine/live-runtime.ts';
import { usageError } from '../exit.ts';
import { defaultFolder } from './roulette.ts';

export type StorePlace = { folder: string } | { endpoints: string[]; secure: boolean; tls: TlsFiles };

export interface OpenedStore {
  store: RegistryStore;
  close(): Promise<void>;
}

/** Over TLS by `etcds`, or as soon as there is a certificate. */
const ETCD = /^etcds?:\/\//;
const ENDPOINT = /^(?:\[[0-9a-f:.]+\]|[a-z\d](?:[a-z\d.-]*[a-z\d])?)(?::(\d{1,5}))?$/i;
const ETCD_PORT = 2379;

/** @throws ERR_USAGE */
export function storeOf(text: string | undefined, tls: TlsFiles): StorePlace {
  const [given] = Object.keys(tls);
  const scheme = text === undefined ? undefined : ETCD.exec(text)?.[0];
  if (text !== undefined && scheme !== undefined) {
    if ((tls.cert === undefined) !== (tls.key === undefined))
      throw usageError('--etcd-cert and --etcd-key belong together', 'give both');
    const endpoints = text.slice(scheme.length).replace(/\/$/, '').split(',').map(endpointOf);
    return { endpoints, secure: scheme === 'etcds://' || given !== undefined, tls };
  }
  if (text !== undefined && /^[a-z]+:\/\//i.test(text))
    throw usageError(
      `--store: found "${text}", expected a folder, etcd://HOST:PORT[,HOST:PORT...] or etcds://...`,
    );
  if (text === '') throw usageError('--store: found "", expected a folder or etcd://HOST:PORT');
  if (given) throw usageError(`--etcd-${given} has no effect without --store etcd://...`, 'leave it out');
  return { folder: path.resolve(text ?? defaultFolder()) };
}

function endpointOf(text: string): string {
  const match = ENDPOINT.exec(text);
  const port = Number(match?.[1] ?? ETCD_PORT);
  if (!match || port < 1 || port > 65535)
    throw usageError(`--store: found "${text}", expected HOST:PORT of a member of etcd`);
  return match[1] === undefined ? `${text}:${ETCD_PORT}` : text;
}

/** @throws ERR_STORAGE */
export async function openStore(runtime: LiveRuntime, place: StorePlace): Promise<OpenedStore> {
  if ('endpoints' in place) {
    const store = await opened((done) =>
      openEtcdStore(runtime, { endpoints: place.endpoints, secure: place.secure, ...place.tls }, done),
    );
    return { store, close: async () => store.close() };
  }
  const unlock = await lockFolder(place.folder);
  try {
    const store = await opened((done) => openEmbeddedStore(runtime, {}, done));
    return {
      store,
      close: async () => {
        // What is on its way to the disk is there when it can be read.
        await new Promise<void>((resolve) => store.load(() => resolve()));
        store.close();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

const opened = (open: (done: (error?: Error, store?: RegistryStore) => void) => void) =>
  new Promise<RegistryStore>((resolve, reject) =>
    open((error, store) => (store ? resolve(store) : reject(error))),
  );
