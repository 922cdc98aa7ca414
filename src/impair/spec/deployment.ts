/**
 * The JSON spec of synthetic-network deployments, taken as it is: a default link and links of flows, each with six numbers a
 * direction. What it says, in stages:
 *
 *   1. `rate` (bit/s) is a policer whose bucket holds one second's worth, by bits on the wire of Ethernet: a frame of at
 *      least 60 bytes, and 24 for checksum, preamble and gap;
 *   2. `loss` 0 to 1, each packet on its own;
 *   3. `latency` ms;
 *   4. `jitter` ms at most, uniform, for the share `jitter_strength` of the packets. The others wait behind those, or
 *      with `reorder_packets` pass them.
 *
 * Its ingress comes from the remote side, which is `down` here, and its egress is `up`. An address is an integer whose lowest
 * byte is the first one written; 0 stands for any address and any protocol.
 */
import { z } from 'zod';
import { checkOptions } from '../../engine/options.ts';
import { formatIp } from '../../packet/address.ts';
import { hasPorts } from '../../packet/flow-key.ts';

const share = z.number().transform((value) => Math.min(Math.max(value, 0), 1));
const whole = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

const qosSchema = z.strictObject({
  rate: whole,
  loss: share,
  latency: whole,
  jitter: whole,
  jitter_strength: share,
  reorder_packets: z.boolean(),
});
const linkSchema = z.strictObject({ ingress: qosSchema, egress: qosSchema });
const port = z.number().int().min(0).max(65535);

const deploymentSchema = z
  .strictObject({
    default_link: linkSchema,
    flows: z.array(
      z.strictObject({
        label: z
          .string()
          .regex(/^\w+$/, 'expected letters, digits and "_"')
          .refine((text) => text !== 'default', 'expected another name: "default" is reserved'),
        flow: z.strictObject({
          ip: z.number().int().min(0).max(0xffffffff),
          protocol: z.number().int().min(0).max(255),
          port_min: port,
          port_max: port,
        }),
        link: linkSchema,
      }),
    ),
  })
  .superRefine(({ flows }, context) => {
    const labels = new Set<string>();
    for (const [i, { label }] of flows.entries()) {
      if (labels.has(label)) {
        const path = ['flows', i, 'label'];
        context.addIssue({ code: 'custom', path, message: 'expected one that no other has' });
      }
      labels.add(label);
    }
  });
type Qos = z.infer<typeof qosSchema>;
type Flow = z.infer<typeof deploymentSchema>['flows'][number]['flow'];

export const isDeployment = (spec: unknown): boolean =>
  typeof spec === 'object' && spec !== null && 'default_link' in spec;

/** @throws ERR_CONFIG with the path, what was found and what was expected */
export function specOfDeployment(spec: unknown): unknown {
  const { default_link, flows } = checkOptions(deploymentSchema, spec);
  return {
    up: stagesOf(default_link.egress),
    down: stagesOf(default_link.ingress),
    rules: flows.map(({ label, flow, link }) => ({
      label,
      match: matchOf(flow),
      up: stagesOf(link.egress),
      down: stagesOf(link.ingress),
    })),
  };
}

/** Its rules are for IPv4 alone. */
function matchOf({ ip, protocol, port_min, port_max }: Flow): Record<string, unknown> {
  const bytes = Uint8Array.of(ip, ip >>> 8, ip >>> 16, ip >>> 24);
  const remote = ip === 0 ? '0.0.0.0/0' : `${formatIp({ family: 4, bytes })}/32`;
  // Where a protocol has no ports, its are 0.
  const ported = protocol === 0 || hasPorts(protocol);
  const any = port_min === 0 && (port_max === 65535 || !ported);
  const ports = any ? {} : { port: `${port_min}-${port_max}` };
  return { remote, ...(protocol === 0 ? {} : { protocol }), ...ports };
}

const LOSSLESS = 0;

function stagesOf({ rate, loss, latency, jitter, jitter_strength, reorder_packets }: Qos): unknown[] {
  const stages: unknown[] = [policer(rate)];
  if (loss > LOSSLESS) stages.push({ kind: 'loss', model: 'random', probability: loss });
  if (latency > 0) stages.push({ kind: 'delay', name: 'latency', time: `${latency}ms` });
  if (jitter > 0 && jitter_strength > 0) {
    // Uniform from nothing to `jitter`: half of it, and at most half of it more or less.
    const half = `${jitter / 2}ms`;
    const order = reorder_packets ? 'allow' : 'preserve';
    stages.push({ kind: 'delay', name: 'jitter', time: half, jitter: half, share: jitter_strength, order });
  }
  return stages;
}

/** In a deployment a rate of 0 lets nothing through. */
function policer(rate: number): unknown {
  if (rate === 0) return { kind: 'loss', model: 'random', probability: 1, name: 'no-rate' };
  return { kind: 'police', rate, burst: '1s', framing: 'ethernet' };
}
