/**
 * How much a link holds, from what it is asked to be. Whatever comes faster than it can be held waits in the kernel, and is
 * dropped there: delay at full speed takes memory.
 */
import { checkOptions } from '../../engine/options.ts';
import { SECOND } from '../../engine/units.ts';
import { type ImpairOptions, impairSchema } from '../../impair/options.ts';
import type { CompiledSpec } from '../../impair/spec/spec.ts';
import type { StageOptions } from '../../impair/stages.ts';
import { LARGE_SLOT, SMALL_SLOT } from '../../native/binding.ts';

/** Beyond 10 Gbit/s it is not the link that limits, bit/s. */
const FASTEST = 10e9;
/** What arrives in bursts comes on top of the delay, ns. */
const BURST = 10_000_000;
/** Of a TCP superframe, bytes; they are up to 64 KiB, and smaller while a connection speeds up. */
const SUPERFRAME = 16_384;
const PACKET = 1514;
/** What the options take by themselves, and what two directions can have of a few hundred megabytes. */
const PACKETS = { least: 8192, most: 65_536 };
const SUPERFRAMES = { least: 256, most: 1024 };
/** Of the network beside its impairments: links, bursts, what is common. */
const SPARE = { small: 5 * 1024, large: 96 };
/** Of what delivers over sockets: fragments that wait for the others. */
const DELIVERY = { small: 2048, large: 128 };
const LEAST_MEMORY = 128 << 20;

export interface Sized {
  spec: CompiledSpec;
  /** Bytes for the network, of which only those that are used cost anything. */
  memory: number;
}

/**
 * A spec with room for what its links hold, where it does not say how much that is.
 *
 * @param delivers whether what is behind it are sockets
 */
export function withMemory({ up, down }: CompiledSpec, delivers = false): Sized {
  const spec = { up: sized(up), down: sized(down) };
  let [small, large] = [SPARE.small, SPARE.large];
  if (delivers) {
    small += DELIVERY.small;
    large += DELIVERY.large;
  }
  for (const { packets, superframes } of Object.values(spec)) {
    small += packets;
    large += superframes;
  }
  // A network gives two thirds to small slots.
  const memory = Math.ceil(Math.max(small * SMALL_SLOT * 1.5, large * LARGE_SLOT * 3));
  return { spec, memory: Math.max(memory, LEAST_MEMORY) };
}

function sized(options: CompiledSpec['up']): CompiledSpec['up'] & { packets: number; superframes: number } {
  const bytes = mostHeld(checkOptions<ImpairOptions>(impairSchema, options));
  return {
    ...options,
    packets: options.packets ?? within(PACKETS, bytes / PACKET),
    superframes: options.superframes ?? within(SUPERFRAMES, bytes / SUPERFRAME),
  };
}

const within = ({ least, most }: { least: number; most: number }, value: number) =>
  Math.ceil(Math.min(Math.max(value, least), most));

/** Bytes that wait at the same time, of what packets pass at any time. */
export function mostHeld({ stages, rules, timeline }: ImpairOptions): number {
  const all = [
    stages,
    ...rules.map((rule) => rule.stages),
    ...timeline.flatMap((change) => [change.stages, ...change.rules.map((rule) => rule.stages)]),
  ];
  return Math.max(...all.map((each) => (each === undefined ? 0 : heldBy(each))));
}

function heldBy(stages: readonly StageOptions[]): number {
  let rate = FASTEST;
  for (const stage of stages) if (stage.kind === 'rate') rate = Math.min(rate, stage.rate);
  let time = BURST;
  let queued = 0;
  for (const stage of stages) {
    // Three standard deviations.
    if (stage.kind === 'delay') time += stage.time + 3 * stage.jitter;
    if (stage.kind === 'rate' || stage.kind === 'slot' || stage.kind === 'trace') {
      const { limit, limitBytes = rate / 8 / 5 } = stage.queue;
      queued += Math.min(limit * PACKET, limitBytes);
    }
  }
  return (rate / 8) * (time / SECOND) + queued;
}
