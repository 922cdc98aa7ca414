/** A flow in one direction as text, the same in every run: `udp 10.0.0.1:1000 > 10.0.0.2:53`. */
import { formatIp } from '../../packet/address.ts';
import { flowFromKey, hasPorts, KEY_CELLS, KeyCell } from '../../packet/flow-key.ts';
import { formatEndpoint } from '../../packet/prefix.ts';
import { protocolName } from '../../packet/protocol.ts';
import { DSCP_SHIFT, type Flows, OTHER } from '../flows.ts';

/** `other` is everything that is no IP packet. */
export function flowName(flows: Flows, flow: number): string {
  if (flow === OTHER) return 'other';
  const at = flows.keyAt(flow);
  return keyName(flows.keys.subarray(at, at + KEY_CELLS), flows.backward(flow));
}

/** @param backward whether its packets go from the key's higher endpoint to the lower */
export function keyName(cells: Int32Array, backward: boolean): string {
  const key = cells.slice(0, KeyCell.hash);
  const dscpPlusOne = key[KeyCell.protocol] >> DSCP_SHIFT;
  key[KeyCell.protocol] &= (1 << DSCP_SHIFT) - 1;
  const { protocol, a, b } = flowFromKey(key);
  const [from, to] = backward ? [b, a] : [a, b];
  const dscp = dscpPlusOne === 0 ? '' : ` dscp ${dscpPlusOne - 1}`;
  const name = protocolName(protocol);
  if (hasPorts(protocol) && (from.port !== 0 || to.port !== 0))
    return `${name} ${formatEndpoint(from)} > ${formatEndpoint(to)}${dscp}`;
  const id = from.port === 0 ? '' : ` id ${from.port}`;
  return `${name} ${formatIp(from.address)} > ${formatIp(to.address)}${id}${dscp}`;
}
