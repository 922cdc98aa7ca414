/** What can be said about losses. Words are netem's where netem has them. */
import { z } from 'zod';
import { probability } from '../quantities.ts';
import { SCOPES } from '../scope.ts';
import type { ReadWords, Words } from '../spec/words.ts';
import { parseRange } from './exact.ts';

const common = {
  kind: z.literal('loss'),
  name: z.string().optional(),
  /** `link`: a burst hits whatever flow is passing. */
  scope: z.enum(SCOPES).default('flow'),
  /** CE is marked instead of a loss, where the packet says it can be. */
  ecn: z.boolean().default(false),
  /** Most losses (and marks) in a row. */
  maxRun: z
    .number()
    .int()
    .min(1)
    .max(2 ** 30)
    .optional(),
};

const random = z.strictObject({
  ...common,
  model: z.literal('random'),
  probability,
  /** Of a packet's loss with that of the one before. */
  correlation: probability.default(0),
  /** netem's own arithmetic of correlation, which loses far fewer than asked for. */
  compat: z.literal('netem').optional(),
});

const gemodel = z.strictObject({
  ...common,
  model: z.literal('gemodel'),
  /** Good to bad. */
  p: probability,
  /** Bad to good. Default 1 - p. */
  r: probability.optional(),
  /** Losses while bad. */
  '1-h': probability.default(1),
  /** Losses while good. */
  '1-k': probability.default(0),
});

const state = z
  .strictObject({
    ...common,
    model: z.literal('state'),
    p13: probability,
    /** Default 1 - p13. */
    p31: probability.optional(),
    p32: probability.default(0),
    p23: probability.default(1),
    p14: probability.default(0),
  })
  .refine(({ p13, p14 }) => p13 + p14 <= 1 + Number.EPSILON, {
    path: ['p14'],
    error: 'expected p13 + p14 to be at most 1',
  })
  .refine(({ p13, p31 = 1 - p13, p32 }) => p31 + p32 <= 1 + Number.EPSILON, {
    path: ['p31'],
    error: 'expected p31 (1 - p13 when left out) + p32 to be at most 1',
  })
  .refine(({ p32, p23 }) => p32 === 0 || p23 > 0, {
    path: ['p23'],
    error: 'expected more than 0: state 2 would never be left',
  });

const burst = z
  .strictObject({
    ...common,
    model: z.literal('burst'),
    /** Share of packets lost. */
    probability: probability.refine((value) => value < 1, { error: 'expected less than 1' }),
    /** Mean losses in a row. */
    length: z.number().min(1),
  })
  .refine(({ probability: share, length }) => length >= share / (1 - share), {
    path: ['length'],
    error:
      'expected a length of at least probability / (1 - probability), or no burst could end early enough',
  });

const range = z.union([z.string(), z.number()]).transform((text, context) => {
  const value = parseRange(text);
  if (value) return value;
  context.addIssue({ code: 'custom', message: 'expected the number of a packet, from 1, or 7-9, or 7-' });
  return z.NEVER;
});

const list = z.strictObject({
  ...common,
  model: z.literal('list'),
  /** Numbers of wire packets in their flow (or on the link), from 1, and ranges. */
  packets: z.array(range).max(65536),
});

const pattern = z.strictObject({
  ...common,
  model: z.literal('pattern'),
  /** `..x.`: every fourth packet, the third first. */
  pattern: z
    .string()
    .max(65536)
    .regex(/^[.x]+$/, { error: 'expected . for packets that pass and x for those that are lost' }),
});

export const lossSchema = z.discriminatedUnion('model', [random, gemodel, state, burst, list, pattern]);
export type LossOptions = z.infer<typeof lossSchema>;

const MODELS = ['random', 'gemodel', 'state', 'burst', 'list', 'pattern'] as const;

/**
 * `[random] P [CORRELATION] [compat netem]`, `gemodel P [R [1-H [1-K]]]`, `state p13 P [p31 P] [p32 P] [p23 P] [p14 P]`,
 * `burst P LENGTH`, `list 3,7-9`, `pattern ..x.`; behind each `[ecn] [maxRun COUNT] [scope flow|link]`
 */
export const lossWords: ReadWords = (words) => {
  const model = words.oneOf(MODELS) ?? 'random';
  return { model, ...values(model, words) };
};

function values(model: (typeof MODELS)[number], words: Words): Record<string, unknown> {
  const keys = { ecn: 'flag', maxRun: 'count', scope: SCOPES } as const;
  switch (model) {
    case 'random':
      return {
        probability: words.take('share'),
        correlation: words.maybe('share'),
        ...words.keys({ ...keys, compat: ['netem'] }),
      };
    case 'gemodel':
      return {
        p: words.take('share'),
        r: words.maybe('share'),
        '1-h': words.maybe('share'),
        '1-k': words.maybe('share'),
        ...words.keys(keys),
      };
    case 'state':
      return words.keys({ ...keys, p13: 'share', p31: 'share', p32: 'share', p23: 'share', p14: 'share' });
    case 'burst':
      return { probability: words.take('share'), length: Number(words.take('word')), ...words.keys(keys) };
    case 'list':
      return { packets: words.take('word').split(','), ...words.keys(keys) };
    case 'pattern':
      return { pattern: words.take('word'), ...words.keys(keys) };
  }
}
