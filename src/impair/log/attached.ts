/**
 * Records what the impairments of a network do to each wire packet, in whichever thread it runs: lines come over by the chunk,
 * and at most so many chunks are on their way. A writer that is slower loses lines, which the log counts, and holds up nobody.
 */
import type { Attachable, Attached } from '../../engine/attach.ts';
import { TunconnectorError } from '../../errors.ts';
import { Impair } from '../impair.ts';

/** Of 16 KiB: 16 MiB. */
const CHUNKS = 1024;

/** To be attached. Sends text, and null when it was told to stop and all is sent; is told `taken` for each text. */
export const recordingVerdicts: Attached<undefined, void> = (network, _options, port) => {
  let away = 0;
  let stopped = false;
  const sink = (text: string): boolean => {
    if (stopped || away === CHUNKS) return false;
    away++;
    port.postMessage(text);
    return true;
  };
  let apps = new Set<Impair>();
  // One that took another's place, with another seed, is recorded from its first packet on. It names flows anew: lines of
  // the other one behind its own would be about the wrong ones.
  const follow = () => {
    const all = Object.keys(network.config.apps).map((name) => network.get(name));
    const before = apps;
    apps = new Set(all.filter((app) => app instanceof Impair));
    for (const app of before) if (!apps.has(app)) app.record(undefined);
    for (const app of apps) if (!before.has(app)) app.record(sink);
  };
  const stop = () => {
    network.off('changed', follow);
    for (const app of apps) app.record(undefined);
    stopped = true;
  };
  follow();
  network.on('changed', follow);
  port.once('close', () => network.off('changed', follow));
  port.on('message', (message: 'taken' | 'flush' | 'stop') => {
    if (message === 'taken') {
      away--;
    } else if (message === 'flush') {
      for (const app of apps) app.flushRecord();
    } else {
      stop();
      port.postMessage(null);
    }
  });
};

export interface VerdictRecording {
  /** Has lines written that are collected so far. */
  flush(): void;
  /** Ends it, when everything is written. @throws what `write` threw */
  stop(): Promise<void>;
}

/**
 * From now on `write` gets the verdict log (docs/impair/log.md) of each impairment of the network, those that come later too, whole
 * lines at a time and the next when it is done with the last. To be stopped before the network is closed.
 */
export async function recordVerdicts(
  network: Attachable,
  write: (text: string) => void | Promise<void>,
): Promise<VerdictRecording> {
  const { port } = await network.attach({ module: import.meta.url, export: 'recordingVerdicts' });
  let writing = Promise.resolve();
  let failure: { error: unknown } | undefined;
  let ended = () => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  port.on('message', (text: string | null) => {
    if (text === null) {
      ended();
      return;
    }
    writing = writing.then(async () => {
      // Nothing is taken from then on: the other side loses its lines.
      if (failure) return;
      try {
        await write(text);
        port.postMessage('taken');
      } catch (error) {
        failure = { error };
      }
    });
  });
  port.once('close', () => {
    failure ??= { error: new TunconnectorError('ERR_CLOSED', 'the network was closed before its log ended') };
    ended();
  });
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    port.postMessage('stop');
    await end;
    await writing;
    port.removeAllListeners('close');
    port.close();
    if (failure) throw failure.error;
  };
  return {
    flush: () => port.postMessage('flush'),
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}
