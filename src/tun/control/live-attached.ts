/** The control socket of a network that may run in another thread: served where the network runs. */
import type { Attachable, Attached } from '../../engine/attach.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { SECOND } from '../../engine/units.ts';
import { type Control, serveControl } from './live-server.ts';

/** A thread that answers no more must not hold up the end of the program; readers have half of this. */
const CLOSE_LIMIT = SECOND;

/** Runs in the network's thread. Any message closes it; then the port closes. Returns the socket's path. */
export const serving: Attached<{ name: string }, string> = async (network, { name }, port) => {
  const control = await serveControl(network, name);
  port.once('message', () => void control.close().finally(() => port.close()));
  return control.path;
};

/** As `serveControl`. @throws ERR_SOCKET */
export async function serveHosted(network: Attachable, name: string): Promise<Control> {
  const spec = { module: import.meta.url, export: 'serving', options: { name } };
  const { result: path, port } = await network.attach<string>(spec);
  const closed = new Promise<void>((resolve) => port.once('close', () => resolve()));
  port.unref();
  return {
    path,
    close() {
      port.postMessage('close');
      const runtime = liveRuntime();
      const forget = runtime.timer(runtime.now() + CLOSE_LIMIT, () => port.close());
      return closed.finally(forget);
    },
  };
}
