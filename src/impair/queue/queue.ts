/** `queue NAME ...`: the options of all disciplines, their defaults, and what makes one. */
import { z } from 'zod';
import { MILLISECOND } from '../../engine/units.ts';
import { probability, size, time } from '../quantities.ts';
import { given, type ReadWords } from '../spec/words.ts';
import { Codel } from './codel.ts';
import type { Discipline, QueueOwner } from './discipline.ts';
import { DropHead } from './drophead.ts';
import { DropTail } from './droptail.ts';
import { FqCodel } from './fq-codel.ts';
import { Pie } from './pie.ts';

const limits = {
  /** Most wire packets that wait. */
  limit: z.number().int().min(1).default(10240),
  /** Most bytes on the wire that wait; 32 MiB as in Linux's fq_codel. */
  limitBytes: size.default(32 << 20),
};

const plain = {
  limit: limits.limit,
  /** Most bytes on the wire that wait; when left out, what the server sends in 200 ms, at least 32 full packets. */
  limitBytes: size.optional(),
};

const codel = {
  ...limits,
  target: time.default(5 * MILLISECOND),
  interval: time.default(100 * MILLISECOND),
  ecn: z.boolean().default(false),
};

export const queueSchema = z.discriminatedUnion('discipline', [
  z.strictObject({ discipline: z.literal('droptail'), ...plain }),
  z.strictObject({ discipline: z.literal('drophead'), ...plain }),
  z.strictObject({ discipline: z.literal('codel'), ...codel }),
  z.strictObject({
    discipline: z.literal('fq_codel'),
    ...codel,
    /** Queues; flows whose hashes meet share one. */
    flows: z.number().int().min(1).max(65536).default(1024),
    /** Bytes on the wire. */
    quantum: z.number().int().min(64).max(1_048_576).default(1514),
  }),
  z.strictObject({
    discipline: z.literal('pie'),
    ...limits,
    target: time.default(15 * MILLISECOND),
    tupdate: time.refine((t) => t >= MILLISECOND, 'at least 1ms').default(15 * MILLISECOND),
    /** Per second. */
    alpha: z.number().min(0).max(32).default(0.125),
    beta: z.number().min(0).max(32).default(1.25),
    burst: time.default(150 * MILLISECOND),
    ecn: z.boolean().default(false),
    markThreshold: probability.default(0.1),
  }),
]);
export type QueueOptions = z.infer<typeof queueSchema>;

const DISCIPLINES = ['droptail', 'drophead', 'codel', 'fq_codel', 'pie'] as const;
const KEYS = {
  limit: 'count',
  limitBytes: 'size',
  target: 'time',
  interval: 'time',
  ecn: 'flag',
  flows: 'count',
  quantum: 'count',
  tupdate: 'time',
  burst: 'time',
  markThreshold: 'share',
} as const;

/** `queue droptail|drophead|codel|fq_codel|pie [KEY VALUE]...`, if it stands there; to be read last. */
export const queueWords: ReadWords = (words) => {
  if (!words.accept('queue')) return {};
  const discipline = words.oneOf(DISCIPLINES);
  if (discipline === undefined) throw words.error(`one of ${DISCIPLINES.join(', ')}`);
  const { name, ...rest } = words.keys(KEYS);
  return given({ name, queue: { discipline, ...rest } });
};

/** What a queue may hold where nothing is said: 200 ms of what leaves it, enough for the longest paths on Earth. */
const DEFAULT_SECONDS = 0.2;
/** A burst of ten packets that starts a TCP connection (RFC 6928), three times. */
const LEAST_BYTES = 32 * 1514;

export const DEFAULT_QUEUE: QueueOptions = { discipline: 'droptail', limit: 10240 };

/** @param rate bit/s at which it is drained, for default limits */
function withLimits(options: QueueOptions, rate: number): QueueOptions & { limitBytes: number } {
  const bytes = Math.max(LEAST_BYTES, Math.ceil((rate / 8) * DEFAULT_SECONDS));
  return { ...options, limitBytes: options.limitBytes ?? bytes };
}

/** @param rate bit/s at which it is drained, for default limits */
export function makeQueue(owner: QueueOwner, options: QueueOptions, rate: number): Discipline {
  const limited = withLimits(options, rate);
  switch (limited.discipline) {
    case 'droptail':
      return new DropTail(owner, limited);
    case 'drophead':
      return new DropHead(owner, limited);
    case 'codel':
      return new Codel(owner, limited);
    case 'fq_codel':
      return new FqCodel(owner, limited);
    case 'pie':
      return new Pie(owner, limited);
  }
}

/** The queue with new options: the same one told of them, or another that takes over what waits. */
export function changeQueue(
  owner: QueueOwner,
  queue: Discipline,
  before: QueueOptions,
  options: QueueOptions,
  rate: number,
): Discipline {
  if (before.discipline === options.discipline && queue.reconfigure(withLimits(options, rate))) return queue;
  const next = makeQueue(owner, options, rate);
  next.adopt(queue);
  return next;
}
