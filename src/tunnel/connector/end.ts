/**
 * One end of a tunnel, from nothing to running and back:
 *
 *   1. outside: the peer's name becomes addresses, the MTU towards it becomes ours
 *   2. the network of three apps (TUN or TAP, tunnel, UDP port; two for `stream`), and of those that were asked for between
 *      the first two, opens its descriptors, in this thread or in one of its own; from here on it is told and heard by
 *      messages
 *   3. the interface gets addresses, MTU and routes, in one go
 *   4. what outlives descriptors: the way to the peer, forwarding, address translation
 *
 * Whatever fails takes back what was done before it.
 */
import { EventEmitter } from 'node:events';
import type { AppEvent, AppSpec } from '../../engine/app.ts';
import { memoryWith } from '../../engine/between.ts';
import { configError } from '../../engine/config.ts';
import { type HostedNetwork, hostNetwork, NetworkHere } from '../../engine/live-hosted.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { type Network, USUAL_MEMORY } from '../../engine/network.ts';
import type { NetworkReport } from '../../engine/report.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { isIp } from '../../packet/address.ts';
import { MAX_DATAGRAM } from '../options.ts';
import { explain, portFailed, refusal } from './end-errors.ts';
import type { Outside } from './live-outside.ts';
import { warmUp } from './live-warm-up.ts';
import { EndMachine, type InterfaceChange } from './machine.ts';
import { type CheckedTunnelOptions, MIN_IPV6_MTU } from './options.ts';
import { type AnyNotice, PeerBook, type PeerChange } from './peers.ts';
import { type EndReport, type EndUp, NO_NETWORK, type Side, trafficOf } from './report.ts';
import { framingOf, networkOf, type Shape, tunnelOf } from './shape.ts';

type ServerEnd = NonNullable<CheckedTunnelOptions['server']>;
type ClientEnd = NonNullable<CheckedTunnelOptions['client']>;

/** IP and UDP header around each datagram. */
const OUTER_HEADERS = { 4: 28, 6: 48 } as const;
/** TCP carries packets of any length; this is what simpletun's devices have. */
const STREAM_MTU = 1500;
const MAX_MTU = 65_535;
/** How long the last figures may take. A thread that answers no more must not hold up the end. */
const REPORT_LIMIT = SECOND;

interface EndEvents {
  up: [EndUp];
  peer: [PeerChange];
  /** The interface's MTU was set to what the path was found to carry. */
  mtu: [mtu: number];
  /** It cannot go on. */
  error: [error: unknown];
}

export class TunnelEnd extends EventEmitter<EndEvents> {
  readonly side: Side;
  readonly #all: CheckedTunnelOptions;
  readonly #end: ServerEnd | ClientEnd;
  readonly #outside: Outside;
  readonly #warm: boolean;
  readonly #machine: EndMachine;
  readonly #peers: PeerBook;
  #network: HostedNetwork | undefined;
  /** Addresses of the client's server, and which of them is in use. */
  #candidates: string[] = [];
  #remote = '';
  #name: string;
  #mtu = STREAM_MTU;
  #maxDatagram = MAX_DATAGRAM;
  #started = 0;
  /** What its network told last. */
  #figures: NetworkReport = NO_NETWORK;
  /** Somebody wants it closed. */
  #unwanted = false;
  #closing = false;
  /** The last report, once it has ended. */
  #ended: EndReport | undefined;
  /** Changes to the interface or the way to the peer, one after the other. */
  #changes: Promise<unknown> = Promise.resolve();

  /** @param warm whether V8 gets to know the packet path before the first packet, where there is a thread for that */
  constructor(side: Side, options: CheckedTunnelOptions, outside: Outside, warm = false) {
    super();
    this.side = side;
    this.#all = options;
    this.#end = options[side]!;
    this.#name = this.#end.interface;
    this.#outside = outside;
    this.#warm = warm;
    this.#machine = new EndMachine(side, options);
    this.#peers = new PeerBook(side);
  }

  async open(): Promise<void> {
    try {
      const network = this.#host(await memoryWith(this.#all.between, USUAL_MEMORY));
      await Promise.all([this.#lookOutside(), this.#warmUp(network)]);
      await network.start(networkOf(this.#shape(), this.#socket()));
      await this.#machine.setUp(this.#name, this.#mtu, this.#outside.shared ? this.#remote : '');
      this.#started = liveRuntime().now();
    } catch (error) {
      await this.close().catch(() => {});
      throw explain(error, this.#end.port);
    }
    if (this.side === 'server' || this.#all.format === 'raw') this.emit('up', this.about());
  }

  /** A thread takes a while to begin: it does while names are looked up. */
  #host(memory: number): HostedNetwork {
    if (this.#unwanted) throw new TunconnectorError('ERR_CLOSED', 'the tunnel is closed');
    const network = hostNetwork(this.#all.thread, { memory });
    network.on('event', (app, event) => this.#heard(app, event));
    network.on('error', (error) => this.emit('error', error));
    this.#network = network;
    return network;
  }

  async #warmUp(network: HostedNetwork): Promise<void> {
    const { thread, format, mtu } = this.#all;
    if (!this.#warm || thread !== 'worker' || format === 'stream') return;
    await warmUp(network, mtu === undefined ? {} : { mtu });
  }

  get #client(): ClientEnd | undefined {
    return this.#all.client && this.side === 'client' ? this.#all.client : undefined;
  }

  get #server(): ServerEnd | undefined {
    return this.#all.server && this.side === 'server' ? this.#all.server : undefined;
  }

  // ── 1. outside

  async #lookOutside(): Promise<void> {
    const { format, mtu } = this.#all;
    const listen = this.#server?.listen;
    if (this.#client) {
      this.#candidates = await this.#outside.resolve(this.#client.remote);
      this.#remote = this.#candidates[0]!;
    }
    const family = (this.#remote || listen || '').includes(':') ? 6 : 4;
    const outer = await this.#outside.mtu(this.#remote || undefined);
    const framing = framingOf(this.#all);
    const most = Math.min(MAX_DATAGRAM, outer - OUTER_HEADERS[family]);
    if (format === 'stream') this.#mtu = mtu ?? STREAM_MTU;
    else this.#mtu = mtu ?? this.#roomForIpv6(Math.min(MAX_MTU, most - framing));
    // A fixed MTU may ask for more than the path carries: then the outer datagram is fragmented.
    this.#maxDatagram = Math.max(512, Math.min(MAX_DATAGRAM, Math.max(most, (mtu ?? 0) + framing)));
  }

  #roomForIpv6(mtu: number): number {
    return this.#end.addresses.some((each) => each.includes(':')) ? Math.max(MIN_IPV6_MTU, mtu) : mtu;
  }

  // ── 2. the network

  #shape(): Shape {
    const { side } = this;
    const [mtu, maxDatagram, outer] = [this.#mtu, this.#maxDatagram, this.#outer()];
    return { side, options: this.#all, mtu, maxDatagram, outer };
  }

  #socket(): AppSpec | undefined {
    const { format, gso, gro, layer, vnetHeader } = this.#all;
    if (format === 'stream') return undefined;
    const any = this.#remote.includes(':') ? '[::]:0' : '0.0.0.0:0';
    const framing = layer === 'L3' ? 'ip' : format === 'udp' ? 'etherip' : 'ethernet';
    // An interface without virtio header takes no superframes: they would be made to be cut again.
    const coalesce = vnetHeader && gro ? framing : 'none';
    return this.#outside.socket({ bind: this.#server ? this.#outer() : any, gso, gro, coalesce });
  }

  /** Where the server listens, or is. */
  #outer(): string {
    const server = this.#server;
    const address = server ? (server.listen ?? this.#outside.anyAddress()) : this.#remote;
    const port = server ? server.port : this.#client!.port;
    return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  }

  // ── while it runs

  #heard(app: string, event: AppEvent): void {
    if (event.type === 'port-failed') this.emit('error', portFailed(event.subject, event.errno));
    else if (event.type === 'interface') this.#name = String(event.name);
    else if (app === 'tunnel') this.#noticed(event as unknown as AnyNotice);
  }

  #noticed(notice: AnyNotice): void {
    const known = this.#peers.known;
    const change = this.#peers.note(notice);
    const { outer, reason = '', text = '' } = notice;
    // A client's own notices name its own addresses.
    const peer = this.side === 'client' ? this.#peers.list()[0] : notice;
    const { addresses = [], networks = [] } = peer ?? {};
    if (change) {
      const about = { addresses, networks, reason, text, outer: outer || this.#outer() };
      this.emit('peer', { side: this.side, interface: this.#name, change, ...about });
    }
    if (this.side === 'server') return;
    if (!known && this.#peers.known && this.#all.format !== 'raw') this.emit('up', this.about());
    if (notice.type === 'refused' && !known) this.emit('error', refusal(notice));
    if (notice.type === 'pmtu' && this.#all.mtu === undefined) this.#follow(notice.datagram!);
    if (notice.type === 'resolve') this.#changing(() => this.#resolveAgain());
  }

  /** Gives the interface the MTU that the path was found to carry. */
  #follow(datagram: number): void {
    const mtu = this.#roomForIpv6(Math.min(MAX_MTU, datagram - framingOf(this.#all)));
    this.#changing(async () => {
      if (mtu === this.#mtu) return;
      await this.#machine.setMtu(this.#name, mtu);
      this.#mtu = mtu;
      this.emit('mtu', mtu);
    });
  }

  /** How the interface is changed while it runs. A process that gave up its privileges puts something else here. */
  set changeInterface(change: (change: InterfaceChange) => Promise<void>) {
    this.#machine.change = change;
  }

  /** The server is silent: its name may mean another address by now, or the next of those it has is better. */
  async #resolveAgain(): Promise<void> {
    const client = this.#client!;
    if (isIp(client.remote)) return;
    // While the tunnel is down, so may be the way to the resolver.
    const found = await this.#outside.resolve(client.remote).catch(() => this.#candidates);
    this.#candidates = found;
    const next = found[(found.indexOf(this.#remote) + 1) % found.length]!;
    const before = this.#remote;
    if (next === before) return;
    await this.#machine.moved(before, next, this.#name, async () => {
      const otherFamily = before.includes(':') !== next.includes(':');
      this.#remote = next;
      const socket = otherFamily ? this.#socket() : undefined;
      await this.#network!.replace({ tunnel: tunnelOf(this.#shape()), ...(socket && { udp: socket }) });
    });
  }

  #changing(work: () => Promise<void>): void {
    this.#changes = this.#changes.then(work).catch((error) => {
      // While it is being closed, or the interface went: whoever removed it is told elsewhere.
      if (!this.#closing && (error as TunconnectorError).code === 'ERR_PERMISSION') this.emit('error', error);
    });
  }

  // ── looking, and the end

  /** The interface's name, once there is one. */
  get interface(): string {
    return this.#name;
  }

  about(): EndUp {
    const { addresses } = this.#end;
    return { side: this.side, interface: this.#name, addresses, mtu: this.#mtu, outer: this.#outer() };
  }

  /** Rejects when the network's thread has ended by itself. */
  async report(): Promise<EndReport> {
    if (this.#ended) return this.#ended;
    if (this.#network && !this.#closing) this.#figures = await this.#network.report();
    return this.#ended ?? this.#lastReport();
  }

  #lastReport(): EndReport {
    return {
      ...this.about(),
      // `raw` never knows, and a server needs nobody.
      connected: this.side === 'server' || this.#all.format === 'raw' || this.#peers.connected,
      duration: this.#started === 0 ? 0 : liveRuntime().now() - this.#started,
      ...trafficOf(this.#figures),
      peers: this.#peers.list(),
    };
  }

  /** The network of this end, for captures and the control socket. Undefined before `open`. */
  get hosted(): HostedNetwork | undefined {
    return this.#network;
  }

  /** The running network itself, which may be changed. @throws ERR_CONFIG when it is in a thread of its own */
  get network(): Network {
    if (this.#network instanceof NetworkHere) return this.#network.network;
    throw configError('the network of this end is in a thread of its own', "use the option thread: 'main'");
  }

  async close(): Promise<void> {
    this.#unwanted = true;
    if (!this.#ended) {
      const figures = await this.#lastFigures();
      this.#closing = true;
      if (figures) this.#figures = figures;
      this.#ended = this.#lastReport();
    }
    await this.#changes;
    try {
      await this.#network?.close();
    } finally {
      await this.#machine.undo();
    }
  }

  /** Undefined where a thread ended by itself, or hangs. */
  async #lastFigures(): Promise<NetworkReport | undefined> {
    const runtime = liveRuntime();
    let forget = () => {};
    const late = new Promise<undefined>((resolve) => {
      forget = runtime.timer(runtime.now() + REPORT_LIMIT, () => resolve(undefined));
    });
    try {
      return await Promise.race([this.#network?.report(), late]);
    } catch {
      return undefined;
    } finally {
      forget();
    }
  }
}
