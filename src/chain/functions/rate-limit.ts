/**
 * Drops what comes faster than a rate: of each flow, of all together, or both. A token bucket in whole nanoseconds: a packet
 * takes as long as its bits need at the rate; it passes if the time up to which the bucket is taken is at most `burst` away.
 */
import { z } from 'zod';
import { rate, time } from '../../impair/quantities.ts';
import type { VnfContext } from '../vnf/context.ts';
import { defineVnf } from '../vnf/define.ts';

export const rateLimitSchema = z
  .strictObject({
    /** Of all flows together, in each direction. */
    rate: rate.optional(),
    /** Of each flow, in each direction. */
    perFlow: rate.optional(),
    /** How much may come at once: what the rate carries in this time. */
    burst: time.default(100_000_000),
    direction: z.enum(['both', 'there', 'back']).default('both'),
  })
  .refine(({ rate, perFlow }) => rate !== undefined || perFlow !== undefined, {
    message: 'expected a rate, a rate per flow, or both',
  });

const BIT_SECOND = 8_000_000_000;

/** Up to when the bucket is taken (ns), and the rest of a nanosecond that the last packet left over. */
export type Bucket = [until: number, rest: number];

/**
 * Takes a packet's bytes out of a bucket, if they are in it.
 * @param rate bit/s @param burst ns @param take false: only looks
 */
export function admit(
  bucket: Bucket,
  bytes: number,
  rate: number,
  burst: number,
  now: number,
  take = true,
): boolean {
  const idle = bucket[0] < now;
  // 64 KiB are 5e14 bit * ns: all of it is exact in a double.
  const need = bytes * BIT_SECOND + (idle ? 0 : bucket[1]);
  const ns = Math.floor(need / rate);
  const until = (idle ? now : bucket[0]) + ns;
  if (until - now > burst) return false;
  if (take) {
    bucket[0] = until;
    bucket[1] = need - ns * rate;
  }
  return true;
}

interface Buckets {
  there: Bucket;
  back: Bucket;
}

const empty = (): Buckets => ({ there: [0, 0], back: [0, 0] });

/** Times of one runtime as times from now on, and back. */
const shifted = ({ there, back }: Buckets, by: number): Buckets => ({
  there: [Math.max(0, there[0] + by), there[1]],
  back: [Math.max(0, back[0] + by), back[1]],
});

export const rateLimit = defineVnf<
  Buckets,
  z.input<typeof rateLimitSchema>,
  z.output<typeof rateLimitSchema>
>({
  name: 'rate-limit',
  module: import.meta.url,
  export: 'rateLimit',
  options: rateLimitSchema,
  create({ rate: given, perFlow, burst, direction }) {
    // Whole bits in a second keep the arithmetic exact.
    const all = given && Math.max(1, Math.round(given));
    const each = perFlow && Math.max(1, Math.round(perFlow));
    let total = empty();
    let context!: VnfContext;
    return {
      open: (ctx) => {
        context = ctx;
      },
      state: empty,
      process(packet, flow, ctx) {
        const way = flow.direction;
        if (direction !== 'both' && direction !== way) return 'forward';
        const now = ctx.time;
        const { length } = packet;
        // A packet that one of them refuses takes nothing of the other.
        if (each && !admit(flow.state[way], length, each, burst, now, false)) return ctx.drop('flow-rate');
        if (all && !admit(total[way], length, all, burst, now)) return ctx.drop('rate');
        if (each) admit(flow.state[way], length, each, burst, now);
        return 'forward';
      },
      exportState: () => shifted(total, -context.time),
      importState: (value) => {
        total = shifted(value as Buckets, context.time);
      },
      exportFlow: (state) => shifted(state, -context.time),
      importFlow: (value) => shifted(value as Buckets, context.time),
    };
  },
});
