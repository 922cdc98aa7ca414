/**
 * A whole chain in one network, for its code to be run and not for what it carries: ingress, a function behind its hop, and egress,
 * joined over loopback as members are over a network. Inside, both ends are joined back to back.
 */
import type { App, AppSpec } from '../../engine/app.ts';
import type { Network } from '../../engine/network.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../packet/build.ts';
import * as tcp from '../../packet/tcp.ts';
import type { PairedTuns } from '../../tun/live-paired-tuns.ts';
import { type UdpPort, udp } from '../../tun/udp.ts';
import { end } from '../end/index.ts';
import { hop } from '../hop/hop.ts';
import type { ChainControlled } from '../member/control.ts';
import { nat } from '../nat/app.ts';
import type { TableUpdate } from '../tables/index.ts';

export interface TwinOptions {
  encapsulation: 'vxlan-gpe' | 'geneve';
  /** Whether the egress translates addresses. */
  nat: boolean;
}

const LOOPBACK = '127.0.0.1';
/** Documentation addresses (RFC 5737), with which no packet leaves this thread. */
const CLIENT = '192.0.2.1';
const SERVER = '198.51.100.1';
const OUTER = '203.0.113.1';
/** The only port that the egress translates to, so that replies are known beforehand. */
const OUTER_PORT = 5000;
const TENANT = 1;
const SPI = 1;
const FUNCTION = 'function';
const [INGRESS_ID, FUNCTION_ID, EGRESS_ID] = [1, 2, 3];
const SECRET = { high: 1, low: 2 };
const FLOWS = 64;
/** A packet goes round some thirty times. */
const TTL = 64;

export class Twin {
  readonly #tuns: PairedTuns;
  readonly #apps: Record<'ingress' | 'hop' | 'egress', App & ChainControlled>;
  readonly #ports: Record<'ingress' | 'hop' | 'egress', UdpPort>;
  readonly #there: Uint8Array[];
  readonly #back: Uint8Array[];

  /** @param fn the function: any app with one input and one output of IP packets */
  constructor(network: Network, tuns: PairedTuns, fn: AppSpec, options: TwinOptions) {
    const { encapsulation } = options;
    const coalesce = encapsulation === 'geneve' ? 'geneve' : 'gpe';
    const port = () => udp.create({ bind: `${LOOPBACK}:0`, coalesce, refusals: true }) as UdpPort;
    const common = { tenant: TENANT, secret: SECRET, encapsulation, flows: FLOWS, addresses: [] };
    this.#tuns = tuns;
    this.#ports = { ingress: port(), hop: port(), egress: port() };
    this.#apps = {
      ingress: end.create({ ...common, role: 'ingress' }) as App & ChainControlled,
      hop: hop.create({ tenant: TENANT, encapsulation }) as App & ChainControlled,
      egress: end.create({ ...common, role: 'egress' }) as App & ChainControlled,
    };
    for (const [name, app] of Object.entries(this.#apps)) network.app(name, app);
    for (const [name, app] of Object.entries(this.#ports)) network.app(`${name}Port`, app);
    network.app('left', tuns.left).app('right', tuns.right).app('vnf', fn);
    const join = (one: string, other: string) =>
      network.link(`${one} -> ${other}`).link(`${other} -> ${one}`);
    const meet = (one: string, at: string) => network.link(`${one}.out -> ${at}`).link(`${at} -> ${one}.in`);
    meet('ingressPort', 'ingress.outside');
    meet('left', 'ingress.inside');
    meet('hopPort', 'hop.outside');
    meet('vnf', 'hop.function');
    meet('egressPort', 'egress.outside');
    if (options.nat) {
      network.app('nat', nat({ addresses: [OUTER], ports: OUTER_PORT, sessions: FLOWS }));
      join('egress.inside', 'nat.inside');
      meet('right', 'nat.outside');
    } else meet('right', 'egress.inside');
    [this.#there, this.#back] = packets(options.nat);
  }

  /** Once its ports are open. */
  tell(): void {
    const place = (id: number, name: string, port: UdpPort) => ({
      ...{ id, function: name, address: LOOPBACK, port: port.localPort },
      ...{ weight: 1, state: 'ready' as const },
    });
    const { ingress, hop, egress } = this.#ports;
    const update: TableUpdate = {
      whole: true,
      chains: [
        ...[{ spi: SPI, symmetric: true, ended: false, revisions: [{ revision: 1, functions: [FUNCTION] }] }],
      ],
      replicas: [
        place(INGRESS_ID, 'ingress', ingress),
        place(FUNCTION_ID, FUNCTION, hop),
        place(EGRESS_ID, 'egress', egress),
      ],
      rules: [{ name: 'all', match: {}, chain: SPI }],
    };
    this.#apps.ingress.update({ ...update, own: { id: INGRESS_ID } });
    this.#apps.hop.update({ ...update, own: { id: FUNCTION_ID } });
    this.#apps.egress.update({ ...update, own: { id: EGRESS_ID } });
  }

  /** Puts the n-th packets in, one at each end. */
  put(n: number): void {
    try {
      this.#tuns.put('left', this.#there[n % this.#there.length]);
      this.#tuns.put('right', this.#back[n % this.#back.length]);
    } catch {
      // As many are under way as there is room for.
    }
  }
}

/** What a client sends, and what it is answered. */
function packets(isTranslated: boolean): [Uint8Array[], Uint8Array[]] {
  const from = `${CLIENT}:${OUTER_PORT}`;
  const back = isTranslated ? OUTER : CLIENT;
  const to = `${back}:${OUTER_PORT}`;
  const server = `${SERVER}:80`;
  const [ttl, payload] = [TTL, 40];
  const echo = { ttl, payload, identifier: OUTER_PORT };
  const { Syn, Ack } = tcp.Flag;
  return [
    [
      icmpEcho({ ...echo, from: CLIENT, to: SERVER }),
      tcpPacket({ ttl, from, to: server, flags: Syn }),
      udpPacket({ ttl, from, to: server, payload }),
      tcpPacket({ ttl, from, to: server, payload }),
    ],
    [
      icmpEcho({ ...echo, from: SERVER, to: back, reply: true }),
      tcpPacket({ ttl, from: server, to, flags: Syn | Ack }),
      udpPacket({ ttl, from: server, to, payload }),
      tcpPacket({ ttl, from: server, to, payload }),
    ],
  ];
}
