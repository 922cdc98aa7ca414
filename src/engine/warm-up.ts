/** Packets through code before anything depends on it: what the warm-ups of tunnels, impaired links and chains have in common. */
import type { Attachable, Attached } from './attach.ts';

/**
 * The half in the network's thread: so many rounds, each with a network of its own. Gives the sum of what the rounds count.
 *
 * @param round a second one meets what the first did not: code that was optimised for one is done again
 */
export function warmingUpBy<Options>(
  rounds: number,
  round: (options: Options, which: number) => Promise<number>,
): Attached<Options, number> {
  return async (_, options) => {
    let packets = 0;
    try {
      for (let which = 0; which < rounds; which++) packets += await round(options, which);
    } catch {
      // Loopback is down, or there are no descriptors left: what matters will be told by what was to be warmed up.
    }
    return packets;
  };
}

/**
 * The half outside. Only for a thread of the network's own: another one has better things to do meanwhile.
 *
 * @param module that exports the other half as `warmingUp`
 */
export async function warmUpBy(network: Attachable, module: string, options: unknown): Promise<number> {
  const { result, port } = await network.attach<number>({ module, export: 'warmingUp', options });
  port.close();
  return result;
}
