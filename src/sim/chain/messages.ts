/** Between members and Roulette in a simulation: what HTTP and a WebSocket carry live, as JSON in messages of a channel. */
import type { ErrorCode } from '../../errors.ts';

/** Of a request. */
export interface Answer {
  id: number;
  error?: { code: ErrorCode; message: string };
  answer?: unknown;
}

export const encode = (message: object): Uint8Array => new TextEncoder().encode(JSON.stringify(message));
export const decode = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes));
