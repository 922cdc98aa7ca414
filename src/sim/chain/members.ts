/**
 * Members of service chains as programs of simulated hosts: ingress, egress and functions, the code of real ones. The two halves of a member
 * run on the host's runtime, beside each other; its chain port is a socket of the host's stack, and its way to Roulette a channel.
 */
import { z } from 'zod';
import { end } from '../../chain/end/end.ts';
import type { FlowSecret } from '../../chain/flow-id.ts';
import { READY_MADE } from '../../chain/functions/index.ts';
import { hop } from '../../chain/hop/hop.ts';
import type { ChainControlled } from '../../chain/member/control.ts';
import { figuresOf } from '../../chain/member/figures.ts';
import { Member, type MemberEvent } from '../../chain/member/member.ts';
import { functionName, tenantId } from '../../chain/roulette/model/schema.ts';
import { timeFrom } from '../../chain/times.ts';
import { isVnf, type Vnf } from '../../chain/vnf/define.ts';
import { configError } from '../../engine/config.ts';
import { Network } from '../../engine/network.ts';
import { checkOptions } from '../../engine/options.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import { formatIp, parseIp } from '../../packet/address.ts';
import { formatEndpoint } from '../../packet/prefix.ts';
import type { SimHost } from '../network/host.ts';
import { DatagramPort } from '../runtime/datagram-port.ts';
import { RegistryChannels } from './connection.ts';

const MEMORY = 32 << 20;

const common = {
  tenant: tenantId,
  /** Where Roulette listens, one or several: `10.0.0.1:7590`. */
  roulette: z.union([z.string().transform((one) => [one]), z.array(z.string()).min(1)]),
  /** Of the chain port; the host's first one when left out. */
  address: z.string().optional(),
  port: z.int().min(1).max(65_535).default(4790),
  /** For which a member that died is still held alive. */
  term: timeFrom(500 * MILLISECOND, 'a time from 500ms on').default(5 * SECOND),
  weight: z.int().min(1).max(0xffff).default(100),
  /** Packet memory: bytes. */
  memory: z
    .int()
    .min(1 << 20)
    .default(MEMORY),
};

const endSchema = z.strictObject({
  ...common,
  /** The host's TUN, with the packets of clients, or for servers. */
  tun: z.string(),
  /** Of the links between members: bytes. */
  mtu: z.int().min(576).max(65_535).default(1500),
  /** Most flows at a time. */
  flows: z.int().min(2).max(4_000_000).default(10_000),
});

const functionSchema = z.strictObject({
  ...common,
  /** A ready-made one by name, or what `defineVnf` makes. */
  function: z.union([z.string(), z.custom<Vnf<unknown>>(isVnf)], {
    error: 'expected the name of a ready-made function, or what defineVnf makes',
  }),
  /** Of the function. */
  options: z.unknown().optional(),
  /** What chains call it; its own name when left out. */
  name: functionName.optional(),
});

export type ChainEndProgramOptions = z.input<typeof endSchema>;
export type VnfProgramOptions = z.input<typeof functionSchema>;

/** Packets that the host sends into its TUN are classified, placed and sent along their chains. @throws ERR_CONFIG */
export const ingressProgram = (host: SimHost, options: ChainEndProgramOptions): void =>
  chainEnd(host, 'ingress', options);

/** What comes out of chains leaves by the host's TUN, and replies go back the same way. @throws ERR_CONFIG */
export const egressProgram = (host: SimHost, options: ChainEndProgramOptions): void =>
  chainEnd(host, 'egress', options);

function chainEnd(host: SimHost, role: 'ingress' | 'egress', options: ChainEndProgramOptions): void {
  const checked = checkOptions(endSchema, options);
  const { tenant, tun, mtu, flows, memory } = checked;
  const inside = host.tun(tun);
  // Flow ids are made with a secret of the tenant: nothing passes before it is known.
  const build = (secret: FlowSecret, network: Network) =>
    network
      .app('inside', inside)
      .app('end', end({ role, tenant, secret, mtu, flows }))
      .link('inside.out -> end.inside')
      .link('end.inside -> inside.in')
      .link('udp.out -> end.outside')
      .link('end.outside -> udp.in');
  let isBuilt = false;
  const joined = join(host, role, checked, (event) => {
    if (event.type !== 'secret' || isBuilt) return;
    isBuilt = true;
    const network = new Network(host.runtime, { memory });
    network.app('udp', new DatagramPort(joined.bind));
    joined.run(build(event.secret, network), 'end');
  });
}

/** A replica of a function. @throws ERR_CONFIG */
export function vnfProgram(host: SimHost, options: VnfProgramOptions): void {
  const checked = checkOptions(functionSchema, options);
  const vnf = typeof checked.function === 'string' ? READY_MADE.get(checked.function) : checked.function;
  if (!vnf)
    throw configError(
      `function: found "${checked.function}", expected one of ${[...READY_MADE.keys()].join(', ')}, or what defineVnf makes`,
    );
  const joined = join(host, checked.name ?? vnf.vnf, checked, () => {});
  const network = new Network(host.runtime, { memory: checked.memory })
    .app('udp', new DatagramPort(joined.bind))
    .app('hop', hop({ tenant: checked.tenant }))
    .app('vnf', (vnf as Vnf<unknown>)(checked.options ?? {}))
    .link('udp.out -> hop.outside')
    .link('hop.outside -> udp.in')
    .link('hop.function -> vnf.in')
    .link('vnf.out -> hop.function');
  joined.run(network, 'hop');
}

/** The control half, which is registered as soon as the packet half runs. */
function join(
  host: SimHost,
  role: string,
  { tenant, roulette, address, port, term, weight }: z.output<z.ZodObject<typeof common>>,
  onEvent: (event: MemberEvent) => void,
) {
  const { runtime } = host;
  const own = address === undefined ? host.stack.interfaces[0]?.addresses[0]?.address : parseIp(address);
  if (!own) throw configError(`address: found none on ${host.name}, expected one for the chain port`);
  const bind = formatEndpoint({ address: own, port });
  const member: Member = new Member(runtime, new RegistryChannels(runtime, tenant, roulette), {
    ...{ tenant, term, registersLater: true },
    replica: { function: role, address: formatIp(own), port, weight },
    onEvent: (event) => {
      if (event.type === 'registered') host.log(`${role} ${event.id} is ${event.state}`);
      if (event.type === 'disconnected') host.log(`Roulette is gone: ${event.reason}`);
      if (event.type === 'refused') host.log(`Roulette refuses: ${event.error.message}`);
      onEvent(event);
    },
  });
  return {
    bind,
    /** @param app of the packet half */
    run(network: Network, app: string): void {
      host.onStop(() => network.close());
      network.start().then(
        () => {
          unite(member, network, app);
          member.register();
        },
        // As whatever else goes wrong on a host: it ends the run.
        (error) =>
          runtime.timer(runtime.now(), () => {
            throw error;
          }),
      );
    },
  };
}

/** The two halves: what they say to each other is copied, as between threads. */
function unite(member: Member, network: Network, name: string): void {
  const { runtime } = network;
  const app = network.get(name) as unknown as ChainControlled;
  member.join({
    update: (update) => app.update(structuredClone(update)),
    measure: () =>
      runtime.timer(runtime.now(), () => member.receive({ figures: figuresOf(network.report(), name) })),
  });
  const take = () => {
    for (let news = app.takeNews(); news; news = app.takeNews()) member.receive(structuredClone(news));
  };
  // It is called in the midst of a burst.
  app.onNews = () => runtime.timer(runtime.now(), take);
  take();
}
