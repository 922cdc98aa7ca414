/**
 * A replica of a function of service chains as a process has it: the chain port, which belongs to the process, and the function in a thread
 * that is watched, replaced and reloaded. Between them is the hop.
 *
 *     const firewall = new ChainFunction({ roulette: ['http://10.9.0.1:7590'], tenant: 42, function: 'firewall', options: { ... } });
 *     await firewall.start();
 *     ...
 *     await firewall.drain('30s');
 *     await firewall.close();
 */
import { EventEmitter } from 'node:events';
import { z } from 'zod';
import { hop } from '../../chain/hop/hop.ts';
import { controlModule, controlPackets } from '../../chain/member/attached.ts';
import type { Member, MemberEvent } from '../../chain/member/member.ts';
import { functionName } from '../../chain/roulette/model/schema.ts';
import { WatchedFunction } from '../../chain/vnf/live-watched.ts';
import type { AppEvent, AppSpec } from '../../engine/app.ts';
import type { Attachable } from '../../engine/attach.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { checkOptions } from '../../engine/options.ts';
import type { NetworkReport } from '../../engine/report.ts';
import { duration, MILLISECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import * as udp from '../../packet/udp.ts';
import { inheritedUdp } from '../../tunnel/connector/live-inherited-udp.ts';
import { type ChainAddress, chainAddress } from '../member/address.ts';
import { lastReport } from '../member/last-report.ts';
import { Membership } from '../member/membership.ts';
import { type MemberManner, memberSchema } from '../member/options.ts';
import { gate } from './gate.ts';
import { type ChainPort, closeChainPort, openChainPort } from './port.ts';

const { roulette, tenant, token, ca, bind, encapsulation, term, weight, gso, gro } = memberSchema;

const schema = z.strictObject({
  ...{ roulette, tenant, token, ca, bind, encapsulation, term, weight, gso, gro },
  /** A file that exports what `defineVnf` makes, or the name of a ready-made function. */
  function: z.string().min(1),
  /** Of the function: what it takes. */
  options: z.unknown(),
  /** What chains call it; its own name when left out. */
  name: functionName.optional(),
  /** Reload when the file changes. */
  watch: z.boolean().default(false),
  /** Packet memory, bytes. */
  memory: z
    .int()
    .min(1 << 20)
    .optional(),
});

export type ChainFunctionOptions = z.input<typeof schema>;

export interface ChainFunctionUp {
  /** Name of the function in chains. */
  role: string;
  /** Replica id. */
  id: number;
  /** Of the chain port. */
  address: string;
}

export interface ChainFunctionReport extends ChainFunctionUp {
  /** ns since it was up. */
  duration: number;
  member: Member['status'];
  network: NetworkReport;
}

interface ChainFunctionEvents {
  up: [ChainFunctionUp];
  /** What happens between it and Roulette. */
  member: [MemberEvent];
  /** What apps want known: `vnf-note` and `vnf-error` of the function. */
  app: [app: string, event: AppEvent];
  /** Another thread has taken the place of one that hung or ended. */
  replaced: [why: 'hung' | 'ended'];
  reloaded: [];
  /** The new one is wrong; the old one goes on. */
  refused: [error: unknown];
  /** It cannot go on. Close it. */
  error: [error: unknown];
}

/** ns from one look at what passes to the next. */
const LOOK = 50 * MILLISECOND;
/** ns for which it still passes on packets after Roulette has let it go: the others hear of it meanwhile. */
const LINGER = 250 * MILLISECOND;
const APPS = { hop: 'hop', port: 'udp', vnf: 'vnf' };

export class ChainFunction extends EventEmitter<ChainFunctionEvents> implements AsyncDisposable {
  readonly #options: z.output<typeof schema>;
  readonly #warm: boolean;
  #where: ChainAddress | undefined;
  #port: ChainPort | undefined;
  #watched: WatchedFunction | undefined;
  #membership: Membership | undefined;
  #role = '';
  #started = 0;
  #ended: ChainFunctionReport | undefined;
  #closing: Promise<void> | undefined;
  /** What is to be attached to its network before packets come: to each of them, for a new thread has a new one. */
  onNetwork: ((network: Attachable) => Promise<void>) | undefined;
  /** When a network is closed and another will take its place: to complete what was attached to it. */
  onLeave: (() => Promise<void>) | undefined;

  /** Nothing happens before `start`. @throws ERR_CONFIG */
  constructor(options: ChainFunctionOptions, { warmUp = false }: MemberManner = {}) {
    super();
    this.#options = checkOptions(schema, options);
    this.#warm = warmUp;
  }

  /** When it rejects, everything is as it was. @throws ERR_CONFIG, ERR_UNREACHABLE, ERR_TOKEN, ERR_NOT_FOUND, ERR_PORT_IN_USE, ... */
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
    const { roulette, bind, encapsulation, options, watch, memory, gso, gro } = this.#options;
    this.#where = await chainAddress(bind, encapsulation, roulette[0]!);
    this.#port = openChainPort(this.#where.text, { gso, gro });
    const watched = await WatchedFunction.start({
      ...{ function: this.#options.function, options, watch },
      ...(memory !== undefined && { memory }),
      ...(this.#warm && { warmUp: { encapsulation, nat: false } }),
      network: (vnf) => this.#networkWith(vnf),
      ports: [APPS.port],
      modules: [controlModule, gate({ ...APPS, room: 0, isKnown: true }).module],
      joined: (network, name) => this.#joined(network, name),
      left: async () => this.onLeave?.(),
    });
    this.#watched = watched;
    watched.on('event', (app, event) => this.#heard(app, event));
    watched.on('replaced', (why) => this.emit('replaced', why));
    watched.on('reloaded', () => this.emit('reloaded'));
    watched.on('refused', (error) => this.emit('refused', error));
    watched.on('error', (error) => this.emit('error', error));
    await this.#membership!.secret();
    await this.#membership!.registered();
    this.#started = liveRuntime().now();
  }

  #networkWith(vnf: AppSpec) {
    const { tenant, encapsulation, gro } = this.#options;
    const coalesce = gro ? (encapsulation === 'geneve' ? 'geneve' : 'gpe') : 'none';
    const port = inheritedUdp({ ...this.#port!, coalesce, lent: true, refusals: true, paused: true });
    return {
      apps: { [APPS.port]: port, [APPS.hop]: hop({ tenant, encapsulation }), [APPS.vnf]: vnf },
      links: [
        'udp.out -> hop.outside',
        'hop.outside -> udp.in',
        'hop.function -> vnf.in',
        'vnf.out -> hop.function',
      ],
    };
  }

  /** The first network, and each that takes its place. */
  async #joined(network: Attachable, name: string): Promise<void> {
    const membership = (this.#membership ??= this.#enter(name));
    await controlPackets(membership.member, network, APPS.hop);
    await this.onNetwork?.(network);
    const { address, mtu } = this.#where!;
    const room = mtu - (address.includes(':') ? ipv6.HEADER : ipv4.HEADER) - udp.HEADER;
    const { port } = await network.attach(gate({ ...APPS, room, isKnown: membership.member.id !== 0 }));
    port.close();
  }

  #enter(name: string): Membership {
    const { weight } = this.#options;
    const { address, port } = this.#where!;
    this.#role = this.#options.name ?? name;
    const replica = { function: this.#role, address, port, weight };
    return new Membership(this.#options, { replica }, (event) => this.emit('member', event));
  }

  #heard(app: string, event: AppEvent): void {
    if (event.type === 'port-failed')
      this.emit('error', new TunconnectorError('ERR_SOCKET', `${event.subject} failed (${event.errno})`));
    else this.emit('app', app, event);
  }

  // ── While it runs, and the end

  /** Its name in chains; empty before the function is loaded. */
  get role(): string {
    return this.#role;
  }

  about(): ChainFunctionUp {
    return { role: this.#role, id: this.#membership?.member.id ?? 0, address: this.#where?.text ?? '' };
  }

  async report(): Promise<ChainFunctionReport> {
    if (this.#ended) return this.#ended;
    const network = await this.#watched!.report();
    return this.#ended ?? this.#reportWith(network);
  }

  #reportWith(network: NetworkReport): ChainFunctionReport {
    const duration = this.#started === 0 ? 0 : liveRuntime().now() - this.#started;
    return { ...this.about(), duration, member: this.#membership!.member.status, network };
  }

  /** Loads the function anew, without losing a packet. @throws what is wrong with the new one; the old one goes on */
  async reload(): Promise<void> {
    await this.#watched!.reload();
  }

  /**
   * Gets no new flows from now on, and goes on with those it has. Resolves when no packet has come for `quiet`, or after `limit`.
   * @param limit time as text, or ns @param quiet likewise
   */
  async drain(limit: string | number, quiet: string | number = '2s'): Promise<void> {
    const [most, silence] = [duration(limit), duration(quiet)];
    const runtime = liveRuntime();
    const until = runtime.now() + most;
    await this.#membership?.drain(most);
    let passed = await this.#passed();
    let since = runtime.now();
    while (runtime.now() < until && runtime.now() - since < silence) {
      await pause(Math.min(LOOK, until - runtime.now()));
      const now = await this.#passed();
      if (now === passed) continue;
      passed = now;
      since = runtime.now();
    }
  }

  /** Packets that the function was given: what probes this replica is not among them. */
  async #passed(): Promise<number> {
    const network = this.#watched && (await lastReport(this.#watched));
    const link = network?.links.find(({ link }) => link.startsWith('hop.function -> '));
    return link?.packets ?? 0;
  }

  /** Gives up its place at Roulette, and then its port. May be called any number of times. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#membership?.close();
    if (this.#started !== 0) {
      await pause(LINGER);
      const network = await lastReport(this.#watched!);
      this.#ended = network && this.#reportWith(network);
    }
    try {
      await this.#watched?.close();
    } finally {
      if (this.#port) closeChainPort(this.#port);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** @param time ns */
const pause = (time: number): Promise<void> => {
  const runtime = liveRuntime();
  return new Promise((resolve) => runtime.timer(runtime.now() + time, resolve));
};
