/**
 * What gets through behind losses: the stack as sender, beside the kernel with the same congestion control. One program impairs for
 * both, and one kernel receives: a stack that impaired in its own process had the shorter way on a busy machine.
 */
import { endOfJson, startJson, stopJson } from '../../harness/json-program.ts';
import { type Lab, type VisitContext, withLab } from '../../harness/lab.ts';
import { program } from '../../harness/root.ts';
import type { Experiment, Visit } from '../../harness/rounds.ts';
import {
  figures,
  GRACE_SECONDS,
  KERNEL,
  MTU,
  OTHER,
  PORT,
  raise,
  START_LIMIT_MS,
  SUITE,
  sendWords,
  sinkWords,
} from './ends.ts';

const KERNEL_TCP = 'two kernels';
const OURS = 'ours, callbacks';
/** ms of round trip, what is lost on the way there (%), and connections at once: of one, twelve seconds are luck. */
const POINTS = [
  [10, 0.1, 8],
  [20, 1, 16],
  [50, 0.1, 24],
  [100, 0.5, 32],
  [40, 2, 32],
] as const;
/** Some hundred losses make a mean. */
const LEAST_SECONDS = 12;
/** Until the first loss the window doubles every round trip: at 100 ms one second of that carries as much as ten later. */
const SKIP_SECONDS = 3;
const NEAR = { atLeast: 0.85, atMost: 1.15 };
/** The stack's, on a TUN of its own whose other end forwards to the link. */
const STACK = '10.9.1.2';
const STACK_GATEWAY = '10.9.1.1';
const STACK_NETWORK = '10.9.1.0/24';
const STACK_DEVICE = 'tun1';

export function goodputExperiments(seconds: number): Experiment[] {
  const lasting = Math.max(seconds, LEAST_SECONDS) + SKIP_SECONDS;
  return POINTS.map(([ms, loss, flows]) => {
    const path = `goodput at ${ms} ms, ${loss} % lost`;
    // A seed of its own for each round, in which both lose the same packets, by their number.
    const specs = () => {
      let round = 0;
      return () => `{ seed: ${7 + round++}, up: delay ${ms / 2}ms loss ${loss}%, down: delay ${ms / 2}ms }`;
    };
    const subject = (name: string, start: Start): Visit => {
      const next = specs();
      return {
        subject: name,
        measure: async (context) => {
          const value = await behindLosses({ ...context, seconds: lasting }, next(), start);
          return [{ path, quantity: 'throughput', value }];
        },
      };
    };
    return {
      suite: SUITE,
      title: path,
      secondsPerVisit: lasting + 2,
      visits: [subject(KERNEL_TCP, kernelSends(flows)), subject(OURS, stackSends(flows))],
      bars: [{ path, quantity: 'throughput' as const, subject: OURS, reference: KERNEL_TCP, ...NEAR }],
    };
  });
}

/** Starts sending; what it gives back stops it. */
type Start = (lab: Lab) => Promise<() => Promise<unknown>>;

/** Bits per second that a kernel has got behind a link of two TUNs. */
function behindLosses(context: VisitContext, spec: string, start: Start): Promise<number> {
  return withLab(context, async (lab) => {
    const { placement, a, b, seconds } = lab;
    const argv = [process.execPath, program('impaired-link'), 'sliced', spec, a.path, b.path];
    const link = await startJson(lab, a, placement.bridge, argv, START_LIMIT_MS);
    await Promise.all([raise(a, KERNEL), raise(b, OTHER)]);
    await b.ip([`route add ${STACK_NETWORK} dev tun0`]);
    const sink = await startJson(lab, b, placement.server, sinkWords(OTHER, seconds, SKIP_SECONDS));
    const stop = await start(lab);
    const result = await endOfJson(sink, seconds + GRACE_SECONDS);
    await stop();
    await stopJson(link);
    return figures(result).bitsPerSecond;
  });
}

const kernelSends = (flows: number) => async (lab: Lab) => {
  const argv = sendWords(OTHER, lab.seconds, flows);
  const send = await startJson(lab, lab.a, lab.placement.client, argv);
  return () => send.stop('SIGTERM');
};

const stackSends = (flows: number) => async (lab: Lab) => {
  const words = [MTU, 'whole', 'calls', 'source', OTHER, PORT, `${flows}`, STACK_DEVICE, STACK];
  const argv = [process.execPath, program('stack-host'), ...words];
  const stack = await startJson(lab, lab.a, lab.placement.client, argv, START_LIMIT_MS);
  await raise(lab.a, STACK_GATEWAY, STACK_DEVICE);
  await lab.a.exec(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward'], { check: true });
  stack.child.stdin!.write('go\n');
  return () => stack.stop('SIGTERM');
};
