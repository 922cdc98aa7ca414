/** The figures of a network that is about to be closed. */
import { liveRuntime } from '../../engine/live-runtime.ts';
import type { NetworkReport } from '../../engine/report.ts';
import { SECOND } from '../../engine/units.ts';

const LIMIT = SECOND;

/** Undefined when it does not answer within 1 s: a thread that hangs must not hold up the end. */
export async function lastReport(network: {
  report(): Promise<NetworkReport>;
}): Promise<NetworkReport | undefined> {
  const runtime = liveRuntime();
  let forget = () => {};
  const late = new Promise<undefined>((resolve) => {
    forget = runtime.timer(runtime.now() + LIMIT, () => resolve(undefined));
  });
  try {
    return await Promise.race([network.report(), late]);
  } catch {
    return undefined;
  } finally {
    forget();
  }
}
