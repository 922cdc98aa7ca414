/** One DNS question and what is a believable answer to it (RFC 1035, RFC 5452, RFC 6891). */
import { decode, encode, type Packet, RECURSION_DESIRED } from 'dns-packet';
import { parseIp } from '../../packet/address.ts';

export type RecordType = 'A' | 'AAAA';

/** RFC 9715: what passes nearly everywhere without fragments. */
const PAYLOAD = 1232;
/** Aliases that are followed. */
const MOST_ALIASES = 16;
const MOST_ADDRESSES = 64;

/** What an answer says. */
export type Answer =
  | { kind: 'addresses'; addresses: string[] }
  /** There is no such name. */
  | { kind: 'no-name' }
  /** Another server may know. */
  | { kind: 'failed'; why: string }
  /** The answer is longer than a datagram. */
  | { kind: 'truncated' };

export function encodeQuery(id: number, name: string, type: RecordType): Uint8Array {
  return encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED,
    questions: [{ type, name }],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: PAYLOAD,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  });
}

/** Undefined for what is no answer to the question: it may be somebody's who guesses. */
export function decodeAnswer(
  bytes: Uint8Array,
  id: number,
  name: string,
  type: RecordType,
): Answer | undefined {
  let packet: Packet & { rcode?: string; flag_tc?: boolean; opcode?: string };
  try {
    packet = decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  } catch {
    return undefined;
  }
  const question = packet.questions?.[0];
  const fits =
    packet.type === 'response' &&
    packet.id === id &&
    packet.opcode === 'QUERY' &&
    packet.questions?.length === 1 &&
    question?.type === type &&
    (question.class ?? 'IN') === 'IN' &&
    same(question.name, name);
  if (!fits) return undefined;
  if (packet.flag_tc) return { kind: 'truncated' };
  if (packet.rcode === 'NXDOMAIN') return { kind: 'no-name' };
  if (packet.rcode !== 'NOERROR') return { kind: 'failed', why: packet.rcode ?? 'no code' };
  return { kind: 'addresses', addresses: follow(packet.answers ?? [], name, type) };
}

/** The addresses of a name, by its aliases. */
function follow(answers: NonNullable<Packet['answers']>, name: string, type: RecordType): string[] {
  let wanted = name;
  for (let i = 0; i < MOST_ALIASES; i++) {
    const found = answers.filter((each) => each.type === type && same(each.name, wanted));
    if (found.length > 0)
      return found
        .slice(0, MOST_ADDRESSES)
        .flatMap((each) => validAddress((each as { data: unknown }).data, type));
    const alias = answers.find((each) => each.type === 'CNAME' && same(each.name, wanted));
    if (!alias) return [];
    wanted = (alias as { data: string }).data;
  }
  return [];
}

function validAddress(data: unknown, type: RecordType): string[] {
  try {
    const { family } = parseIp(String(data));
    return family === (type === 'A' ? 4 : 6) ? [String(data)] : [];
  } catch {
    return [];
  }
}

const same = (a: string, b: string): boolean => plain(a) === plain(b);
const plain = (name: string): string => name.toLowerCase().replace(/\.$/, '');

/** What may be asked for: labels of letters, digits, `-` and `_`. Why not, or undefined. */
export function nameProblem(name: string): string | undefined {
  const bare = name.replace(/\.$/, '');
  if (bare.length === 0 || bare.length > 253) return 'a name has 1 to 253 characters';
  for (const label of bare.split('.'))
    if (!/^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))
      return `its part "${label}" is not of letters, digits, "-" and "_"`;
  return undefined;
}
