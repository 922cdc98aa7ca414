/** Options that several functions have. */
import { z } from 'zod';
import { FLOW_TEXT } from '../../engine/flow-match.ts';
import { TunconnectorError } from '../../errors.ts';
import { formatIp, isIp, parseIp } from '../../packet/address.ts';
import { KEY_CELLS } from '../../packet/flow-key.ts';
import { parseEndpoint } from '../../packet/prefix.ts';
import { getInt32 } from '../../packet/word.ts';
import { Classifier, NO_RULE, UNTAGGED } from '../classifier/classifier.ts';
import { type FlowMatch, flowMatchSchema } from '../classifier/match.ts';
import type { FlowDirection } from '../vnf/flows.ts';
import type { PacketEnd, VnfPacket } from '../vnf/packet.ts';

/** One, or a list of them: on a command line, the option once or several times. */
export const listOf = <T>(schema: z.ZodType<T>, max: number) =>
  z
    .unknown()
    .transform((value) => (value === undefined || Array.isArray(value) ? value : [value]))
    .pipe(z.array(schema).max(max));

/** An address with a port, or without: then the port stays as it is. */
export interface WrittenEnd extends PacketEnd {
  text: string;
}

/** `10.0.1.1:80`, `[fd00::1]:80`, or an address alone. */
export const endSchema = z.string().transform((text, context): WrittenEnd => {
  try {
    const bare = isIp(text);
    const { address, port } = bare ? { address: parseIp(text), port: 0 } : parseEndpoint(text);
    const words = new Int32Array(4);
    for (let i = 0; i < address.bytes.length / 4; i++) words[i] = getInt32(address.bytes, 4 * i);
    return { text: bare ? formatIp(address) : text, version: address.family, words, port };
  } catch (error) {
    if (!(error instanceof TunconnectorError)) throw error;
    context.addIssue({ code: 'custom', message: 'expected an address such as 10.0.1.1, or 10.0.1.1:80' });
    return z.NEVER;
  }
});

export const matchSchema = flowMatchSchema;

const verdicts = ['allow', 'deny'] as const;

/** `allow 10.0.0.0/8 -> *:tcp:80`, or `{ action, match }`. */
export const ruleSchema = z
  .unknown()
  .transform((value, context) => {
    if (typeof value !== 'string') return value;
    const [, action, match] = /^(allow|deny)\s+(.+)$/.exec(value.trim()) ?? [];
    if (action !== undefined) return { action, match };
    context.addIssue({ code: 'custom', message: `expected allow or deny, and [from -> ]${FLOW_TEXT}` });
    return z.NEVER;
  })
  .pipe(z.strictObject({ action: z.enum(verdicts), match: flowMatchSchema }));

/** Finds the first of a list of matches for a packet's flow, seen from who opened it. */
export class FlowFinder {
  readonly #classifier: Classifier;
  readonly #key = new Int32Array(KEY_CELLS);

  constructor(matches: readonly FlowMatch[]) {
    this.#classifier = new Classifier(matches.map((match, i) => ({ match, chain: i + 1 })));
  }

  /** Its place in the list; -1 for none, and where the packet says nothing of ports that it should have. */
  find(packet: VnfPacket, direction: FlowDirection): number {
    const way = packet.flowKey(this.#key);
    if (way < 0) return -1;
    const opener = direction === 'there' ? (way as 0 | 1) : way === 0 ? 1 : 0;
    const rule = this.#classifier.find(this.#key, 0, 0, opener, packet.ip.dscp, UNTAGGED);
    return rule === NO_RULE ? -1 : rule;
  }
}

/** Matches of functions are about packets alone: what a chain's rules say of tenants and VLANs is not in them. */
export const packetMatch = <T extends FlowMatch>(match: T): boolean =>
  match.tenant === undefined && match.vlan === undefined;
