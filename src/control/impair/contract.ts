/**
 * What an impaired link that is served says and understands: bodies, queries and messages, as schemas. The server checks what
 * comes by them, the OpenAPI document is made of them, and the types of the client are theirs. Nothing here is of Node; what
 * takes only types from here has no code of it.
 *
 * `up` is from the first interface to the second, `down` the other way. Times are ns on the link's clock (0 is when it was
 * started), rates bit/s, lengths bytes, packets wire packets. Counters count from the start and never go back, but for
 * those of a rule or a stage that was taken out and comes again, and for all of them when the seed is another one.
 */
import { z } from 'zod';

const count = z.number().int().min(0);
const label = z.string().regex(/^[\w-]{1,64}$/, 'expected letters, digits, "_" and "-"');

// ── The spec: docs/impair/README.md.

const stage = z.union([z.string(), z.record(z.string(), z.unknown())]);
/** What packets pass: `delay 50ms loss 1%`, a list of stages, of which each may be text, or a preset. */
export const stages = z.union([z.string(), z.array(stage), z.strictObject({ preset: z.string() })]);
export type Stages = z.infer<typeof stages>;

const sides = {
  /** Each way; `up` and `down` go before it. */
  both: stages.optional(),
  up: stages.optional(),
  down: stages.optional(),
  preset: z.string().optional(),
};
export type Sides = { [Key in keyof typeof sides]?: z.infer<(typeof sides)[Key]> };

/** Which flows: `10.0.0.0/8:tcp:80-90`, or an object of `remote`, `local`, `protocol`, `port`, `localPort`, `dscp`, `direction`. */
const match = z.union([z.string(), z.record(z.string(), z.unknown())]);

/** A rule as its author writes it. */
export const rule = z.looseObject({ label, match, ...sides });
export type Rule = z.infer<typeof rule>;

/** The whole spec as its author writes it. */
export const spec = z.looseObject({
  ...sides,
  seed: count.optional(),
  /** The first that matches a flow has it. */
  rules: z.array(rule).optional(),
  timeline: z.array(z.record(z.string(), z.unknown())).optional(),
});
export type Spec = z.infer<typeof spec>;

/**
 * GET and PUT `/api/v1/spec`. A PUT takes the spec alone, as JSON or YAML, also in the form of existing synthetic-network
 * deployments; it is read into this form, which GET gives back. Its ETag is the revision: who sends it as If-Match gets 412
 * when somebody has changed the spec since. It takes effect as a whole or not at all.
 */
export const specDocument = z.object({
  /** One more with every change, whoever made it. */
  revision: count,
  spec,
  /** Of all draws: the spec's own, or the one that was drawn. */
  seed: count,
});
export type SpecDocument = z.infer<typeof specDocument>;

// ── Rules, read.

/**
 * A stage as an object, each with `kind` and `name`, and values as they were written: times as numbers of ns or text such as
 * `50ms`, rates as bit/s or `5mbit`, shares as 0 to 1 or `1%`. A list of them may be put or patched as it is.
 */
export const readStage = z.looseObject({ kind: z.string(), name: z.string() });
export type ReadStage = z.infer<typeof readStage>;

export const readRule = z.object({
  /** `default` is what all packets pass that no rule is for. */
  label,
  /** Not of `default`. */
  match: match.optional(),
  /** What its flows' packets pass; null in a direction that the rule says nothing of, where the next rule has a look. */
  up: z.array(readStage).nullable(),
  down: z.array(readStage).nullable(),
});
export type ReadRule = z.infer<typeof readRule>;

/** GET `/api/v1/rules`: text and presets of the spec taken apart. `default` first, then rules in their order. */
export const ruleList = z.object({ revision: count, rules: z.array(readRule) });
export type RuleList = z.infer<typeof ruleList>;

/**
 * PATCH `/api/v1/rules/{label}`: what is given is changed, null takes it away, the rest stays (RFC 7396). A label that there is
 * not is a new rule, which needs a `match`. `default` has neither match nor position. Other rules are not disturbed.
 */
export const rulePatch = z.strictObject({
  match: match.optional(),
  both: stages.nullish(),
  up: stages.nullish(),
  down: stages.nullish(),
  preset: z.string().nullish(),
  /** Place among the rules, from 0. A new rule comes last when it is not given. */
  position: count.optional(),
});
export type RulePatch = z.infer<typeof rulePatch>;

/** The answer to a PATCH. */
export const ruleDocument = z.object({
  revision: count,
  /** As it is now in the spec; without label and match for `default`. */
  rule: z.looseObject({ label, match: match.optional(), ...sides }),
  /** -1 for `default`. */
  position: z.number().int().min(-1),
});
export type RuleDocument = z.infer<typeof ruleDocument>;

/** The answer to a DELETE. */
export const changed = z.object({ revision: count });
export type Changed = z.infer<typeof changed>;

// ── What the link does: GET `/api/v1/stats`, and messages of the stream.

export const lateness = z.object({
  /** How long after its time a packet left, ns: how well the machine keeps time. */
  count,
  mean: z.number(),
  p50: z.number(),
  p90: z.number(),
  p99: z.number(),
  maximum: z.number(),
});

const passed = {
  packets: count,
  bytes: count,
  packetsOut: count,
  bytesOut: count,
  /** Dropped by its stages. */
  dropped: count,
  /** Packets and superframes that it holds now: those that are delayed and those that wait in queues. */
  held: count,
};

export const stageStats = z.object({
  name: z.string(),
  kind: z.string(),
  /** Taken out, but packets are left. */
  leaving: z.boolean(),
  ...passed,
  /** By reason: `loss`, `queue-full`, `aqm`, `policed`, `mtu`, ... */
  drops: z.record(z.string(), count),
  /** Wire packets and bytes that wait in its queue now, where it has one. */
  waiting: count.optional(),
  waitingBytes: count.optional(),
  lateness,
  /** What is special about the kind. */
  details: z.record(z.string(), z.union([z.number(), z.string(), z.boolean()])),
});
export type StageStats = z.infer<typeof stageStats>;

export const ruleStats = z.object({
  label,
  leaving: z.boolean(),
  ...passed,
  /**
   * Sum over all packets that left of the time from when they came until they left, ns: its growth by that of `packetsOut` is
   * the mean delay in between.
   */
  delay: z.number(),
  stages: z.array(stageStats),
});
export type RuleStats = z.infer<typeof ruleStats>;

export const directionStats = z.object({
  ...passed,
  /** As in a rule. */
  delay: z.number(),
  flows: z.object({
    /** Told apart now. */
    known: count,
    limit: count,
    evicted: count,
  }),
  /** Rules there are in this direction, with `default`; messages of the stream show the busiest of them. */
  ruleCount: count,
  /** `default` first, the others by bytes. */
  rules: z.array(ruleStats),
});
export type DirectionStats = z.infer<typeof directionStats>;

/** GET `/api/v1/stats`. */
export const stats = z.object({
  revision: count,
  /** When, on the link's clock. */
  at: z.number(),
  up: directionStats,
  down: directionStats,
});
export type Stats = z.infer<typeof stats>;

/** `?rules=N`: at most so many rules of each direction, the busiest. Default: all. */
export const statsQuery = z.strictObject({ rules: z.coerce.number().int().min(0).max(4096).optional() });
export type StatsQuery = Partial<z.output<typeof statsQuery>>;

// ── Flows: GET `/api/v1/flows`, and messages of the stream.

/** Packets of a flow in one direction. */
export const flowSide = z.object({
  /** The rule that it belongs to, or `default`. */
  rule: z.string(),
  packets: count,
  bytes: count,
  /** Since the look before, bit/s; 0 at the first look. */
  rate: z.number(),
  /** When the last one came. */
  last: z.number(),
});

/** A connection as seen from the inside: `remote` is the destination of what goes up and the source of what comes down. */
export const flow = z.object({
  version: z.union([z.literal(4), z.literal(6)]),
  /** IANA number, and its name: `tcp`, or `protocol 99`. */
  protocol: count,
  protocolName: z.string(),
  remote: z.string(),
  /** 0 where the protocol has none; the identifier of an echo. */
  remotePort: count,
  local: z.string(),
  localPort: count,
  /** Of its packets, where a rule divides it by that; -1 otherwise. */
  dscp: z.number().int(),
  up: flowSide.nullable(),
  down: flowSide.nullable(),
  /** A match for a rule that is for this flow, and no wider than rules must be. */
  match: z.record(z.string(), z.union([z.string(), z.number()])),
});
export type Flow = z.infer<typeof flow>;

export const FLOW_SORTS = ['bytes', 'packets', 'rate', 'last'] as const;
const flowSort = z.enum(FLOW_SORTS);

/** `?top=N&offset=M&sort=rate&rule=dns&search=10.0.`; sums of both directions are what is sorted by, largest first. */
export const flowQuery = z.strictObject({
  top: z.coerce.number().int().min(1).max(1000).default(20),
  offset: z.coerce.number().int().min(0).default(0),
  sort: flowSort.default('bytes'),
  /** Those of one rule. */
  rule: z.string().max(64).optional(),
  /** Those with this in their text: `tcp 10.0.0.1:4000 > 10.0.0.2:80`, the local end first. */
  search: z.string().max(128).optional(),
});
export type FlowQuery = Partial<z.output<typeof flowQuery>>;

export const flowList = z.object({
  /** When the look was taken; one that is younger than half a second answers for others too. */
  at: z.number(),
  /** Flows there are that the query is for. */
  total: count,
  flows: z.array(flow),
});
export type FlowList = z.infer<typeof flowList>;

// ── Presets and kinds of stages.

export const preset = z.object({
  name: z.string(),
  /** Who says so, and where. */
  source: z.string(),
  /** What it is in words: `rate 12mbit delay 35ms`. */
  up: z.string(),
  down: z.string(),
});
export const presetList = z.object({ presets: z.array(preset) });
export type PresetList = z.infer<typeof presetList>;

/** GET `/api/v1/kinds`: every kind of stage, with the JSON schema of its keys. */
export const kindList = z.object({
  kinds: z.array(z.object({ kind: z.string(), schema: z.record(z.string(), z.unknown()) })),
});
export type KindList = z.infer<typeof kindList>;

// ── The stream: a WebSocket at `/api/v1/stream`. Each message is one JSON text with a `type`.

/** What is sent as it comes; `hello` and `spec` always are. */
export const PARTS = ['stats', 'flows', 'drops'] as const;
export type Part = (typeof PARTS)[number];

/** `?interval=250ms&parts=stats,drops&rules=64&flows=20&sort=rate`. */
export const streamQuery = z.strictObject({
  /** Between messages of one type: `250ms`, `1s`, or ms as a number; 100 ms to a minute. Flows come every second at most. */
  interval: z
    .string()
    .regex(/^\d{1,5}(ms|s)?$/, 'expected a time such as 250ms')
    .default('250ms'),
  parts: z.string().max(64).default(PARTS.join()),
  /** Most rules of each direction in `stats`. */
  rules: z.coerce.number().int().min(0).max(4096).default(64),
  /** Most flows in `flows`. */
  flows: z.coerce.number().int().min(1).max(200).default(20),
  sort: flowSort.default('rate'),
});
export type StreamQuery = Partial<z.output<typeof streamQuery>>;

/** The first message. */
export const helloMessage = z.object({
  type: z.literal('hello'),
  version: z.literal(1),
  revision: count,
  /** Names of the two ends: `up` is from left to right. */
  left: z.string(),
  right: z.string(),
  seed: count,
  /** What a time on the link's clock is elsewhere: `at` was at `time` (ISO 8601). */
  at: z.number(),
  time: z.string(),
  /** ms */
  interval: count,
});
export type HelloMessage = z.infer<typeof helloMessage>;

/** Somebody has changed the spec: GET it, if it is not your own doing. Stats tell the revision too. */
export const specMessage = z.object({ type: z.literal('spec'), revision: count });

export const statsMessage = stats.extend({
  type: z.literal('stats'),
  /** Messages that this reader did not get because it was too slow for them, so far. */
  skipped: count,
});
export type StatsMessage = z.infer<typeof statsMessage>;

export const flowsMessage = flowList.extend({ type: z.literal('flows') });
export type FlowsMessage = z.infer<typeof flowsMessage>;

export const drop = z.object({
  /** By the link's own time: when the packet would have gone on. */
  at: z.number(),
  direction: z.enum(['up', 'down']),
  /** `udp 10.0.0.1:1000 > 10.0.0.2:53`, as it was sent. */
  flow: z.string(),
  rule: z.string(),
  stage: z.string(),
  why: z.string(),
  /** Wire packets that were dropped at once, and bytes of all of them. */
  packets: count,
  bytes: count,
});
export type Drop = z.infer<typeof drop>;

/** Drops since the message before, in the order of their times, at most 200: of more, evenly chosen ones. None, no message. */
export const dropsMessage = z.object({
  type: z.literal('drops'),
  drops: z.array(drop),
  /** Drops that are not shown. */
  more: count,
});
export type DropsMessage = z.infer<typeof dropsMessage>;

export const streamMessage = z.discriminatedUnion('type', [
  helloMessage,
  specMessage,
  statsMessage,
  flowsMessage,
  dropsMessage,
]);
export type StreamMessage = z.infer<typeof streamMessage>;

// ── Errors: every answer that is not 2xx.

export const errorDocument = z.object({
  error: z.object({
    /**
     * `ERR_CONFIG` (400: the spec), `ERR_USAGE` (400: the request), `ERR_LIMIT` (400: memory), `ERR_TOKEN` (401), `ERR_ORIGIN` (403),
     * `ERR_NOT_FOUND` (404), `ERR_REVISION` (412), `ERR_TOO_LARGE` (413), `ERR_MEDIA_TYPE` (415), `ERR_HOST` (421),
     * `ERR_BUSY` (503: too many streams), `ERR_CLOSED` (503: the link is ending), `ERR_INTERNAL` (500).
     */
    code: z.string(),
    /** One line, for people. */
    message: z.string(),
    /** Where in the spec: `rules.3.up.0.time`. */
    path: z.string().optional(),
    found: z.string().optional(),
    expected: z.string().optional(),
    remedy: z.string().optional(),
  }),
});
export type ErrorDocument = z.infer<typeof errorDocument>;
