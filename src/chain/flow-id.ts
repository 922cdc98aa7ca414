/**
 * The name of a flow that its packets carry: 64 bits, the same in both directions and at every ingress that has the same
 * secret. Two flows of one id are found when they are registered.
 */
import { KeyCell } from '../packet/flow-key.ts';
import { HalfSipHash } from '../packet/half-siphash.ts';

/** Shared by all who place flows on the same chains: 64 bits. */
export interface FlowSecret {
  high: number;
  low: number;
}

/** As the registry has it: 16 hexadecimal digits. */
export const readFlowSecret = (digits: string): FlowSecret => ({
  high: Number.parseInt(digits.slice(0, 8), 16) | 0,
  low: Number.parseInt(digits.slice(8), 16) | 0,
});

/** The cells of a key but its hash, which is of this machine alone, and the tenant. */
const WORDS = KeyCell.hash + 1;

export class FlowIds {
  readonly #secret: FlowSecret;
  readonly #hash = new HalfSipHash();
  readonly #words = new Int32Array(WORDS);
  /** Of the last flow: upper and lower 32 bits, signed. Not both are 0: that is no flow, but a probe. */
  high = 0;
  low = 0;

  constructor(secret: FlowSecret) {
    this.#secret = secret;
  }

  /** The id of the flow of a tenant whose key starts at `keys[at]`. */
  of(keys: Int32Array, at: number, tenant: number): void {
    const words = this.#words;
    for (let i = 0; i < KeyCell.hash; i++) words[i] = keys[at + i];
    words[KeyCell.hash] = tenant;
    this.#hash.hash(this.#secret.high, this.#secret.low, words, 0, WORDS);
    this.high = this.#hash.high;
    this.low = (this.high | this.#hash.low) === 0 ? 1 : this.#hash.low;
  }
}

const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');

/** 16 hexadecimal digits, as registries and people have it. */
export const formatFlowId = (high: number, low: number): string => hex(high) + hex(low);

/** Back from there: upper and lower 32 bits, signed. */
export const readFlowId = (id: string): { high: number; low: number } => ({
  high: Number.parseInt(id.slice(0, 8), 16) | 0,
  low: Number.parseInt(id.slice(8), 16) | 0,
});
