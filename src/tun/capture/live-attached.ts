/**
 * A capture of a network that may run in another thread: what looks at packets and what writes them are beside the
 * network, and its owner hears how it ended.
 */
import type { MessagePort } from 'node:worker_threads';
import type { Attachable, Attached } from '../../engine/attach.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { fromError, type PlainError, toError } from '../../engine/live-worker.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import type { CaptureSummary } from './capture.ts';
import { captureToFile, type FileCaptureOptions } from './live-file.ts';
import type { LinkSelector } from './select.ts';

/** How long the last bytes may take. A thread that answers no more must not hold up the end of the program. */
const STOP_LIMIT = 5 * SECOND;

type Options = Omit<FileCaptureOptions, 'onEnd'>;

interface Ended {
  packets: number;
  missed: number;
  error: PlainError | undefined;
}

/** Runs in the network's thread. Any message ends the capture; how it ended is the one message that comes back. */
export const capturing: Attached<{ links: LinkSelector; file: string; options: Options }, void> = async (
  network,
  { links, file, options },
  port,
) => {
  const capture = await captureToFile(network, links, file, {
    ...options,
    onEnd({ packets, missed, error }) {
      port.postMessage({ packets, missed, error: error && fromError(error) } satisfies Ended);
      port.close();
    },
  });
  port.on('message', () => void capture.stop());
};

export interface HostedCapture {
  /** Completes the file. May be called any number of times; never rejects. */
  stop(): Promise<CaptureSummary>;
}

/** As `captureToFile`. @throws ERR_CAPTURE, ERR_CONFIG */
export async function captureHosted(
  network: Attachable,
  links: LinkSelector,
  file: string,
  { onEnd, ...options }: FileCaptureOptions = {},
): Promise<HostedCapture> {
  const spec = { module: import.meta.url, export: 'capturing', options: { links, file, options } };
  const { port } = await network.attach(spec);
  const ended = summaryFrom(port, file).then((summary) => {
    onEnd?.(summary);
    return summary;
  });
  return {
    stop() {
      port.postMessage('stop');
      const runtime = liveRuntime();
      const forget = runtime.timer(runtime.now() + STOP_LIMIT, () => port.close());
      return ended.finally(forget);
    },
  };
}

function summaryFrom(port: MessagePort, file: string): Promise<CaptureSummary> {
  return new Promise((resolve) => {
    port.once('message', ({ packets, missed, error }: Ended) => {
      resolve({ packets, missed, error: error && (toError(error) as TunconnectorError) });
    });
    port.once('close', () => {
      const error = new TunconnectorError('ERR_CAPTURE', `${file} was not completed: its network is gone`);
      resolve({ packets: 0, missed: 0, error });
    });
    port.unref();
  });
}
