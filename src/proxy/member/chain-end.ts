/**
 * An end of chains as a process has it, from nothing to running and back:
 *
 *   1. Roulette is watched until the tenant is known, whose secret flow ids are made with
 *   2. the network of chain port, app `end` and what is inside opens its descriptors, in this thread or in one of its own
 *   3. the machine: interface, routes, forwarding
 *   4. the two halves are joined, and the end is registered
 *
 * Whatever fails takes back what was done before it. With Roulette gone later, packets go on.
 */
import { EventEmitter } from 'node:events';
import { end } from '../../chain/end/index.ts';
import type { FlowSecret } from '../../chain/flow-id.ts';
import { controlPackets } from '../../chain/member/attached.ts';
import type { Member, MemberEvent } from '../../chain/member/member.ts';
import { warmUp } from '../../chain/warm/live-warm-up.ts';
import type { AppEvent, AppSpec } from '../../engine/app.ts';
import type { Attachable } from '../../engine/attach.ts';
import { type HostedNetwork, hostNetwork } from '../../engine/live-hosted.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import type { NetworkReport } from '../../engine/report.ts';
import { TunconnectorError } from '../../errors.ts';
import { SystemChanges } from '../../tun/system/live-system.ts';
import { udp } from '../../tun/udp.ts';
import { warmUp as warmTunnelUp } from '../../tunnel/connector/live-warm-up.ts';
import { type ChainAddress, chainAddress } from './address.ts';
import { lastReport } from './last-report.ts';
import { Membership } from './membership.ts';
import type { MemberManner, MemberSettings } from './options.ts';

/** What is on the other side of the end. */
export interface Inside {
  apps: Record<string, AppSpec>;
  /** Between `end.inside` and these. */
  links: string[];
  /** Where the ICMP errors of the end come from. */
  addresses: string[];
  /** The interface to make, if there is one. */
  interface?: string;
  /** @param name of the interface, once it is open */
  setUp(system: SystemChanges, name: string): Promise<void>;
}

export interface ChainEndUp {
  role: 'ingress' | 'egress';
  /** Replica id. */
  id: number;
  /** Of the chain port. */
  address: string;
  /** Of the TUN; empty where there is none. */
  interface: string;
  mtu: number;
}

export interface ChainEndReport extends ChainEndUp {
  /** ns since it was up. */
  duration: number;
  member: Member['status'];
  network: NetworkReport;
}

interface ChainEndEvents {
  up: [ChainEndUp];
  /** What happens between it and Roulette. */
  member: [MemberEvent];
  /** Of the apps inside: clients of a tunnel that come and go, for example. */
  app: [app: string, event: AppEvent];
  /** It cannot go on. Close it. */
  error: [error: unknown];
}

export class ChainEnd extends EventEmitter<ChainEndEvents> implements AsyncDisposable {
  readonly role: 'ingress' | 'egress';
  readonly #settings: MemberSettings;
  readonly #inside: (mtu: number) => Inside;
  readonly #warm: boolean;
  readonly #system = SystemChanges.open();
  #membership: Membership | undefined;
  #network: HostedNetwork | undefined;
  #where: ChainAddress | undefined;
  #name = '';
  #started = 0;
  #ended: ChainEndReport | undefined;
  #closing: Promise<void> | undefined;
  /** What is to be attached to its network before others send to it. */
  onNetwork: ((network: Attachable) => Promise<void>) | undefined;

  /** @param inside what is inside, for links of that MTU */
  constructor(
    role: 'ingress' | 'egress',
    settings: MemberSettings,
    inside: (mtu: number) => Inside,
    { warmUp = false }: MemberManner = {},
  ) {
    super();
    this.role = role;
    this.#settings = settings;
    this.#inside = inside;
    this.#warm = warmUp && settings.thread === 'worker';
  }

  /** When it rejects, everything is as it was. @throws ERR_UNREACHABLE, ERR_TOKEN, ERR_NOT_FOUND, ERR_PORT_IN_USE, ERR_PERMISSION, ... */
  async start(): Promise<void> {
    try {
      await this.#open();
    } catch (error) {
      await this.close().catch(() => {});
      throw error;
    }
    this.emit('up', this.about());
  }

  async #open(): Promise<void> {
    const { roulette, bind, encapsulation, thread } = this.#settings;
    const where = await chainAddress(bind, encapsulation, roulette[0]!);
    this.#where = { ...where, mtu: this.#settings.mtu ?? where.mtu };
    const network = hostNetwork(thread);
    this.#network = network;
    network.on('event', (app, event) => this.#heard(app, event));
    network.on('error', (error) => this.emit('error', error));
    const { flowIdle, flows, weight } = this.#settings;
    const { address, port } = where;
    const membership = new Membership(
      this.#settings,
      { replica: { function: this.role, address, port, weight }, flowIdle, flows: 2 * flows },
      (event) => this.emit('member', event),
    );
    this.#membership = membership;
    const inside = this.#inside(this.#where.mtu);
    const [secret] = await Promise.all([membership.secret(), this.#warmUp(network, inside)]);
    this.#name = inside.interface ?? '';
    await network.start(this.#networkWith(inside, secret));
    await inside.setUp(this.#system, this.#name);
    await controlPackets(membership.member, network, 'end');
    await this.onNetwork?.(network);
    await membership.registered();
    this.#started = liveRuntime().now();
  }

  async #warmUp(network: HostedNetwork, { apps }: Inside): Promise<void> {
    if (!this.#warm) return;
    await warmUp(network, { encapsulation: this.#settings.encapsulation, nat: 'nat' in apps });
    if ('tunnel' in apps) await warmTunnelUp(network, {});
  }

  #networkWith(inside: Inside, secret: FlowSecret) {
    const { tenant, encapsulation, flows, flowIdle, gso, gro } = this.#settings;
    const { text, mtu } = this.#where!;
    const coalesce = gro ? (encapsulation === 'geneve' ? 'geneve' : 'gpe') : 'none';
    const { addresses } = inside;
    const apps = {
      ...inside.apps,
      end: end({ role: this.role, tenant, secret, encapsulation, mtu, addresses, flows, flowIdle }),
      chain: udp({ bind: text, gso, gro, coalesce, refusals: true }),
    };
    return { apps, links: ['chain.out -> end.outside', 'end.outside -> chain.in', ...inside.links] };
  }

  #heard(app: string, event: AppEvent): void {
    if (event.type === 'interface' && app === 'tun') this.#name = String(event.name);
    else if (event.type === 'port-failed') {
      this.emit('error', new TunconnectorError('ERR_INTERFACE', `${event.subject} failed (${event.errno})`));
    } else this.emit('app', app, event);
  }

  // ── While it runs, and the end

  about(): ChainEndUp {
    const { text = '', mtu = 0 } = this.#where ?? {};
    return {
      role: this.role,
      id: this.#membership?.member.id ?? 0,
      address: text,
      interface: this.#name,
      mtu,
    };
  }

  /** Rejects when the network's thread has ended by itself. */
  async report(): Promise<ChainEndReport> {
    if (this.#ended) return this.#ended;
    const network = await this.#network!.report();
    return this.#ended ?? this.#reportWith(network);
  }

  #reportWith(network: NetworkReport): ChainEndReport {
    const duration = this.#started === 0 ? 0 : liveRuntime().now() - this.#started;
    return { ...this.about(), duration, member: this.#membership!.member.status, network };
  }

  /** Gets no new flows from now on; those it has go on. Resolves when Roulette knows, or after `limit` ns. */
  async drain(limit: number): Promise<void> {
    await this.#membership?.drain(limit);
  }

  /** Gives up its place at Roulette and undoes every change to the machine. May be called any number of times. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#started !== 0) {
      const network = await lastReport(this.#network!);
      this.#ended = network && this.#reportWith(network);
    }
    await this.#membership?.close();
    try {
      await this.#network?.close();
    } finally {
      await this.#system.undo();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
