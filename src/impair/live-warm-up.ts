/**
 * Before an impaired link starts, packets run through its code: in the thread that the link will have, from one end to the
 * other, whose ends are joined back to back, so that they go round and round. V8 has optimised the path then, which the
 * packets of a quiet link would make it do one function after the other, each with a pause for the packets that come just
 * then. As for tunnels, docs/decisions/010 has the figures.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attachable } from '../engine/attach.ts';
import { LiveRuntime } from '../engine/live-runtime.ts';
import { Network } from '../engine/network.ts';
import { MICROSECOND, MILLISECOND } from '../engine/units.ts';
import { warmingUpBy, warmUpBy } from '../engine/warm-up.ts';
import { Protocol } from '../packet/protocol.ts';
import { pairedTuns, pingSized } from '../tun/live-paired-tuns.ts';
import { impair } from './impair.ts';
import { ANSWERS } from './link.ts';
import { type ImpairOptions, impairSchema, type NamedStage } from './options.ts';
import type { CompiledSpec } from './spec/spec.ts';

const ROUNDS = 3;
const BREATHS = 3000;
/** How long packets may run in a round on a busy machine. */
const LIMIT = 60 * MILLISECOND;
/** One at a time, as on a quiet link, and some in a burst. */
const PACKETS = [1, 8];
/** Documentation addresses (RFC 5737), with which no packet leaves this thread. */
const LEFT = '192.0.2.1';
const RIGHT = '192.0.2.2';
const MEMORY = 32 << 20;
const SMALL = { flows: 64, packets: 256, superframes: 8 };
const RULES = 8;
const SHORT = 20 * MICROSECOND;
const FAST = 100e9;

/** Runs in the thread of the link's network, before that starts. Returns how many packets crossed the link. */
export const warmingUp = warmingUpBy(ROUNDS, round);

export const warmUp = (network: Attachable, spec: CompiledSpec): Promise<number> =>
  warmUpBy(network, import.meta.url, spec);

async function round({ up, down }: CompiledSpec): Promise<number> {
  const runtime = new LiveRuntime({ blocking: true });
  const network = new Network(runtime, { memory: MEMORY });
  const tuns = pairedTuns('warm-up');
  network.app('left', tuns.left).app('right', tuns.right);
  network.app('up', impair.create(quick(up))).app('down', impair.create(quick(down)));
  for (const link of [
    'left.out -> up.in',
    'up.out -> right.in',
    'right.out -> down.in',
    'down.out -> left.in',
  ])
    network.link(link);
  for (const link of ANSWERS) network.link(link);
  try {
    await network.start();
    const end = runtime.now() + LIMIT;
    for (const [i, count] of PACKETS.entries()) {
      const enough = (BREATHS * (i + 1)) / PACKETS.length;
      do {
        // Those that were on their way may be lost by now.
        for (let n = 0; n < count; n++) {
          for (const protocol of [Protocol.Icmp, Protocol.Udp]) {
            tuns.put('left', pingSized(LEFT, RIGHT, protocol));
            tuns.put('right', pingSized(RIGHT, LEFT, protocol));
          }
        }
        await sleep(2);
      } while (runtime.now() < end && network.report().breaths < enough);
    }
    const across = network.report().links.filter(({ link }) => /^(up|down)\.out/.test(link));
    return across.reduce((sum, { packets }) => sum + packets, 0);
  } finally {
    await network.close();
  }
}

/** The same pipelines, through which packets are quick, and none is doubled. */
function quick(options: CompiledSpec['up']): ImpairOptions {
  const { timeline, ...spec } = impairSchema.parse(options);
  const rules = spec.rules.slice(0, RULES);
  return {
    ...{ ...spec, ...SMALL, timeline: [] },
    stages: spec.stages.flatMap(quickStage),
    rules: rules.map((rule) => ({ ...rule, stages: rule.stages.flatMap(quickStage) })),
  };
}

function quickStage(stage: NamedStage): NamedStage[] {
  switch (stage.kind) {
    case 'delay':
      return [{ ...stage, time: Math.min(stage.time, SHORT), jitter: Math.min(stage.jitter, SHORT / 4) }];
    case 'rate':
      return [{ ...stage, rate: Math.max(stage.rate, FAST) }];
    case 'loss':
    case 'corrupt':
    case 'mtu':
      return [stage];
    default:
      return [];
  }
}
