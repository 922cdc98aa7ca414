/** What passes between Roulette and those who watch, as JSON. One revision is one message, so that nobody stands in the middle of one. */
import { z } from 'zod';
import { KINDS } from '../model/model.ts';

const rev = z.int().min(0);
const key = z.string().max(256);
export const kinds = z.array(z.enum(KINDS as [string, ...string[]]));

/** What a watcher begins with. */
export const watchRequest = z.strictObject({
  t: z.literal('watch'),
  /** What it has: nothing, or the state of this store at this revision. */
  from: z.strictObject({ store: z.string().max(64), rev }).optional(),
  /** What it wants to know of; everything when left out. */
  kinds: kinds.optional(),
});

export const feedMessage = z.discriminatedUnion('t', [
  /** A part of all that there is at this revision. */
  z.object({
    t: z.literal('snap'),
    store: z.string().max(64),
    rev,
    part: z.int().min(0),
    last: z.boolean(),
    entries: z.array(z.object({ key, rev, val: z.string() })),
  }),
  /** All that one revision changed. `prev` is the revision of the message before. A deleted key has no value. */
  z.object({
    t: z.literal('ev'),
    rev,
    prev: rev,
    ops: z.array(z.object({ op: z.enum(['put', 'delete']), key, val: z.string().optional() })),
  }),
  /** Nothing else happened until this revision. */
  z.object({ t: z.literal('beat'), rev, prev: rev }),
]);

export type WatchRequest = z.infer<typeof watchRequest>;
export type FeedMessage = z.infer<typeof feedMessage>;

/** ns between beats. */
export const BEAT = 1_000_000_000;
/** ns without a message after which a watcher takes the connection for dead. */
export const SILENCE = 3 * BEAT;
/** Entries in one part of a snapshot. */
export const PART = 256;
