/** What a `check` finds in a header. 0 is a header whose accessors are all safe. */
export const Problem = {
  None: 0,
  /** The bytes end before the header does. */
  Truncated: 1,
  /** The version nibble is not the one of this protocol. */
  Version: 2,
  /** The header claims to be shorter than its fixed part, or not as long as its kind is. */
  HeaderLength: 3,
  /** The length field and the bytes that are there do not agree. */
  Length: 4,
  /** An option or extension header runs over the end of what holds it. */
  Options: 5,
  /** Not the protocol that was asked for. */
  Protocol: 6,
  /** A kind of metadata that is reserved or unknown. */
  MetadataType: 7,
} as const;
export type Problem = (typeof Problem)[keyof typeof Problem];

const TEXTS = [
  'no problem',
  'truncated header',
  'wrong version',
  'impossible header length',
  'length field does not fit the packet',
  'malformed option or extension header',
  'wrong protocol',
  'unknown metadata type',
];

/** For logs and drop reasons. */
export const problemText = (problem: number): string => TEXTS[problem] ?? `problem ${problem}`;
