/** A flow in one direction as text, the same in every run: `udp 10.0.0.1:1000 > 10.0.0.2:53`. */
import { formatIp } from '../../packet/address.ts';
import { flowFromKey, hasPorts, KeyCell } from '../../packet/flow-key.ts';
import { formatEndpoint } from '../../packet/prefix.ts';
import { protocolName } from '../../packet/protocol.ts';
import { type Flows, OTHER } from '../flows.ts';

/** `other` is everything that is no IP packet. */
export function flowName(flows: Flows, flow: number): string {
  if (flow === OTHER) return 'other';
  const at = flows.keyAt(flow);
  const key = flows.keys.slice(at, at + KeyCell.hash);
  // Above the version may stand a DSCP.
  key[KeyCell.protocol] &= 0xffff;
  const { protocol, a, b } = flowFromKey(key);
  const [from, to] = flows.backward(flow) ? [b, a] : [a, b];
  const dscp = flows.dscp(flow) < 0 ? '' : ` dscp ${flows.dscp(flow)}`;
  const name = protocolName(protocol);
  if (hasPorts(protocol) && (from.port !== 0 || to.port !== 0))
    return `${name} ${formatEndpoint(from)} > ${formatEndpoint(to)}${dscp}`;
  const id = from.port === 0 ? '' : ` id ${from.port}`;
  return `${name} ${formatIp(from.address)} > ${formatIp(to.address)}${id}${dscp}`;
}
