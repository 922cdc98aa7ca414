/** What a client hears of it when a socket of this machine has failed. */
import type { Refusal } from '../stack/tcp/below.ts';

const REFUSALS: Readonly<Record<string, Refusal>> = {
  EHOSTUNREACH: 'host',
  EHOSTDOWN: 'host',
  ENETUNREACH: 'network',
  ENETDOWN: 'network',
  ENONET: 'network',
  EADDRNOTAVAIL: 'network',
  EACCES: 'prohibited',
  EPERM: 'prohibited',
};

/** Undefined: nothing, as when nobody answers. It asks again, and may find more luck (no descriptors, no memory). */
export const refusalOf = (error: string): Refusal | undefined => REFUSALS[error];
