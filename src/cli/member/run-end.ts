/** Runs an end of chains. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChainEnd } from '../../proxy/member/chain-end.ts';
import { type EndFlags, timeOf } from './options.ts';
import { MemberRun } from './run.ts';

/** @param links that `--pcap` writes down @returns the exit code */
export function runChainEnd(end: ChainEnd, flags: EndFlags, links: string): Promise<number> {
  const time = timeOf('--drain', flags.drain);
  const run = new MemberRun(end, flags, {
    links,
    signals: ['SIGINT', 'SIGTERM', 'SIGHUP'],
    async drain() {
      if (time === 0) return;
      await end.drain(time);
      await sleep(time / 1e6);
    },
  });
  end.on('app', (app, event) => run.note(`${app}: ${JSON.stringify(event)}`));
  return run.run();
}
