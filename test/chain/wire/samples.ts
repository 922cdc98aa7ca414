import type { FlowPrefix } from '../../../src/chain/wire/prefix.ts';
import { emitPrefix, MAX_PREFIX } from '../../../src/chain/wire/prefix.ts';

export const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex.replace(/[^0-9a-f]/g, ''), 'hex'));
export const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Chain 7 of tenant 42, through three functions. */
export const SAMPLE: FlowPrefix = {
  tenant: 42,
  servicePath: 7,
  family: 4,
  flowHigh: 0x00f1a2b3,
  flowLow: 0xc4d5e6f7,
  revision: 17,
  generation: 1,
  start: 3,
  replicas: [17, 33, 49],
  end: 65,
};
export const GPE = '0c00000400002a00';
export const GENEVE = '0000894f00002a00';
export const NSH = '0fca0201000007ff';
export const FLOW = 'fff6010800f1a2b3c4d5e6f7';
export const PATH = 'fff6021000000011000100030011002100310041';

export function prefixOf(fields: Partial<FlowPrefix> = {}): Uint8Array {
  const bytes = new Uint8Array(MAX_PREFIX).fill(0xee);
  return bytes.slice(0, emitPrefix({ ...SAMPLE, ...fields }, bytes));
}
