/**
 * One end of a tunnel, from nothing to running and back:
 *
 *   1. outside: the peer's name becomes addresses, the MTU towards it becomes ours
 *   2. the network of three apps (TUN or TAP, tunnel, UDP port; two for `stream`) opens its descriptors
 *   3. the interface gets addresses, MTU and routes, in one go
 *   4. what outlives descriptors: the way to the peer, forwarding, address translation
 *
 * Whatever fails takes back what was done before it.
 */
import { EventEmitter } from 'node:events';
import type { AppEvent, AppSpec } from '../../engine/app.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { Network } from '../../engine/network.ts';
import { TunconnectorError } from '../../errors.ts';
import { isIp } from '../../packet/address.ts';
import { contains, parsePrefix } from '../../packet/prefix.ts';
import { configureInterface } from '../../tun/system/live-ip.ts';
import { SystemChanges } from '../../tun/system/live-system.ts';
import { type TunPort, tun } from '../../tun/tun.ts';
import { tunnelClient } from '../client.ts';
import { MAX_DATAGRAM } from '../options.ts';
import { rawTunnel } from '../raw.ts';
import { tunnelServer } from '../server.ts';
import { streamTunnel } from '../stream/stream.ts';
import type { Outside } from './live-outside.ts';
import { type CheckedTunnelOptions, familiesOf, MIN_IPV6_MTU, onLink } from './options.ts';
import { type AnyNotice, PeerBook, type PeerChange } from './peers.ts';
import { type EndReport, type EndUp, type Side, trafficOf } from './report.ts';

type ServerEnd = NonNullable<CheckedTunnelOptions['server']>;
type ClientEnd = NonNullable<CheckedTunnelOptions['client']>;

/** Ethernet header and EtherIP header (RFC 3378), which a TAP's MTU does not count. */
const ETHERNET_HEADER = 14;
const ETHERIP_HEADER = 2;
/** IP and UDP header around each datagram. */
const OUTER_HEADERS = { 4: 28, 6: 48 } as const;
/** TCP carries packets of any length; this is what simpletun's devices have. */
const STREAM_MTU = 1500;
const MAX_MTU = 65_535;

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
  readonly #system = SystemChanges.open();
  readonly #network = new Network(liveRuntime());
  readonly #peers: PeerBook;
  /** Addresses of the client's server, and which of them is in use. */
  #candidates: string[] = [];
  #remote = '';
  #name: string;
  #mtu = STREAM_MTU;
  #maxDatagram = MAX_DATAGRAM;
  #started = 0;
  /** The last report, once it has ended. */
  #ended: EndReport | undefined;
  #pinned = false;
  /** Changes to the interface or the way to the peer, one after the other. */
  #changes: Promise<unknown> = Promise.resolve();

  constructor(side: Side, options: CheckedTunnelOptions, outside: Outside) {
    super();
    this.side = side;
    this.#all = options;
    this.#end = options[side]!;
    this.#name = this.#end.interface;
    this.#outside = outside;
    this.#peers = new PeerBook(side);
    this.#network.on('event', (app, event) => this.#heard(app, event));
    this.#network.on('error', (error) => this.emit('error', error));
  }

  async open(): Promise<void> {
    try {
      await this.#lookOutside();
      this.#assemble();
      await this.#network.start();
      this.#name = this.#network.get<TunPort>('tun').name;
      await this.#configure();
      this.#started = liveRuntime().now();
    } catch (error) {
      await this.close().catch(() => {});
      throw this.#explain(error);
    }
    if (this.side === 'server' || this.#all.format === 'raw') this.emit('up', this.about());
  }

  get #client(): ClientEnd | undefined {
    return this.#all.client && this.side === 'client' ? this.#all.client : undefined;
  }

  get #server(): ServerEnd | undefined {
    return this.#all.server && this.side === 'server' ? this.#all.server : undefined;
  }

  // ── 1. outside

  async #lookOutside(): Promise<void> {
    const { format, layer, mtu } = this.#all;
    const listen = this.#server?.listen;
    if (this.#client) {
      this.#candidates = await this.#outside.resolve(this.#client.remote);
      this.#remote = this.#candidates[0]!;
    }
    const family = (this.#remote || listen || '').includes(':') ? 6 : 4;
    const outer = await this.#outside.mtu(this.#remote || undefined);
    const framing = layer === 'L2' ? ETHERNET_HEADER + (format === 'udp' ? ETHERIP_HEADER : 0) : 0;
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

  #assemble(): void {
    const { format, layer, vnetHeader } = this.#all;
    const mode = layer === 'L2' ? 'tap' : 'tun';
    this.#network.app('tun', tun({ name: this.#end.interface, mode, offload: vnetHeader }));
    this.#network.app('tunnel', this.#tunnelApp());
    this.#network.link('tun.out -> tunnel.inside').link('tunnel.inside -> tun.in');
    if (format === 'stream') return;
    this.#network.app('udp', this.#socket());
    this.#network.link('udp.out -> tunnel.outside').link('tunnel.outside -> udp.in');
  }

  #tunnelApp(): AppSpec {
    const { format, layer, mtu } = this.#all;
    const { addresses } = this.#end;
    const server = this.#server;
    const outer = this.#outer();
    if (format === 'stream')
      return streamTunnel(server ? { layer, listen: outer } : { layer, connect: outer });
    const frame = layer === 'L2' ? ETHERNET_HEADER : 0;
    if (format === 'raw') {
      const peer = server ? {} : { peer: outer };
      return rawTunnel({ layer, mtu: this.#mtu + frame, ...peer });
    }
    const fixed = mtu === undefined ? {} : { mtu: mtu + frame };
    const both = { layer, addresses, maxDatagram: this.#maxDatagram, ...fixed };
    if (!server) {
      const { announce, keepalive } = this.#client!;
      return tunnelClient({ ...both, server: outer, announce, keepalive });
    }
    const { routes, allow, maxClients } = server;
    return tunnelServer({ ...both, routes, allow, ...(maxClients === undefined ? {} : { maxClients }) });
  }

  #socket() {
    const { gso, gro } = this.#all;
    const any = this.#remote.includes(':') ? '[::]:0' : '0.0.0.0:0';
    return this.#outside.socket({ bind: this.#server ? this.#outer() : any, gso, gro });
  }

  /** Where the server listens, or is. */
  #outer(): string {
    const server = this.#server;
    const address = server ? (server.listen ?? this.#outside.anyAddress()) : this.#remote;
    const port = server ? server.port : this.#client!.port;
    return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  }

  // ── 3. the interface, and 4. what outlives it

  async #configure(): Promise<void> {
    const client = this.#client;
    const routes = this.#end.routes.filter((route) => route !== 'default');
    if (client && this.#outside.shared && this.#isInside(this.#remote)) {
      // Before there is a route that would take its packets into the tunnel.
      await this.#system.pinPeer(this.#remote, { avoid: [this.#name] });
      await this.#system.watchRoutes();
      this.#pinned = true;
    }
    await configureInterface({
      name: this.#name,
      addresses: this.#end.addresses,
      mtu: this.#mtu,
      up: true,
      // On a TAP neighbour discovery needs a link-local address.
      addressGeneration: this.#all.layer === 'L3' ? 'none' : undefined,
      routes: routes.map((prefix) => ({ prefix })),
    });
    const families = familiesOf(this.#end.addresses);
    if (client?.routes.includes('default')) await this.#system.routeDefault(this.#name, families);
    const forwards = this.#all.forward || (this.#all.server && this.#all.client);
    if (forwards || this.#server?.nat || (client?.announce.length ?? 0) > 0) {
      await this.#system.enableForwarding(familiesOf([...this.#end.addresses, ...this.#end.routes]));
    }
    if (this.#server?.nat) {
      await this.#system.masquerade([...this.#server.addresses.map(onLink), ...routes], this.#name);
    }
  }

  /** Whether packets to an outer address would go into the tunnel. */
  #isInside(address: string): boolean {
    return this.#end.routes.some((route) => {
      const ours = route === 'default' ? familiesOf(this.#end.addresses) : familiesOf([route]);
      if (!ours.includes(address.includes(':') ? 6 : 4)) return false;
      const host = parsePrefix(address.split('%')[0]!, { length: 'host' });
      return route === 'default' || contains(parsePrefix(route), host.address);
    });
  }

  // ── while it runs

  #heard(app: string, event: AppEvent): void {
    if (event.type === 'port-failed') {
      const what = `${event.subject} failed (errno ${event.errno})`;
      const remedy = 'did somebody delete it? Start again';
      this.emit('error', new TunconnectorError('ERR_INTERFACE', what, { remedy }));
    } else if (app === 'tunnel') this.#noticed(event as unknown as AnyNotice);
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
    const framing = this.#all.layer === 'L2' ? ETHERNET_HEADER + ETHERIP_HEADER : 0;
    const mtu = this.#roomForIpv6(Math.min(MAX_MTU, datagram - framing));
    this.#changing(async () => {
      if (mtu === this.#mtu) return;
      await this.setInterfaceMtu(this.#name, mtu);
      this.#mtu = mtu;
      this.emit('mtu', mtu);
    });
  }

  /** How the MTU is set while it runs. A process that gave up its privileges puts something else here. */
  setInterfaceMtu = async (name: string, mtu: number): Promise<void> => {
    await configureInterface({ name, mtu });
  };

  /** The server is silent: its name may mean another address by now, or the next of those it has is better. */
  async #resolveAgain(): Promise<void> {
    const client = this.#client!;
    if (isIp(client.remote)) return;
    // While the tunnel is down, so may be the way to the resolver.
    const found = await this.#outside.resolve(client.remote).catch(() => this.#candidates);
    this.#candidates = found;
    const next = found[(found.indexOf(this.#remote) + 1) % found.length]!;
    if (next === this.#remote) return;
    const before = this.#remote;
    if (this.#pinned) await this.#system.pinPeer(next, { avoid: [this.#name] });
    const otherFamily = before.includes(':') !== next.includes(':');
    this.#remote = next;
    if (otherFamily && this.#all.format !== 'stream') this.#network.app('udp', this.#socket());
    this.#network.app('tunnel', this.#tunnelApp());
    await this.#network.commit();
    if (this.#pinned) await this.#system.unpinPeer(before);
  }

  #changing(work: () => Promise<void>): void {
    this.#changes = this.#changes.then(work).catch((error) => {
      // While it is being closed, or the interface went: whoever removed it is told elsewhere.
      if (this.#ended === undefined && (error as TunconnectorError).code === 'ERR_PERMISSION') {
        this.emit('error', error);
      }
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

  report(): EndReport {
    if (this.#ended) return this.#ended;
    return {
      ...this.about(),
      // `raw` never knows, and a server needs nobody.
      connected: this.side === 'server' || this.#all.format === 'raw' || this.#peers.connected,
      duration: this.#started === 0 ? 0 : liveRuntime().now() - this.#started,
      ...trafficOf(this.#network),
      peers: this.#peers.list(),
    };
  }

  /** The network of this end, for captures. */
  get network(): Network {
    return this.#network;
  }

  async close(): Promise<void> {
    this.#ended ??= this.report();
    await this.#changes;
    try {
      await this.#network.close();
    } finally {
      await this.#system.undo();
    }
  }

  /** Says which of the user's words an error is about, and what helps. */
  #explain(error: unknown): unknown {
    if (!(error instanceof TunconnectorError)) return error;
    const { errno, syscall } = error;
    const details = { errno, syscall, cause: error };
    if (error.code === 'ERR_PORT_IN_USE') {
      const { port } = this.#end;
      const remedy = `choose another, or end that program (ss -lnptu | grep ${port} shows it)`;
      return new TunconnectorError('ERR_PORT_IN_USE', `port ${port} is taken by another program`, {
        ...details,
        remedy,
      });
    }
    return error;
  }
}

/** Why the server does not want this client, as an error. */
function refusal(notice: AnyNotice): TunconnectorError {
  const remedies: Record<string, string> = {
    taken: 'choose another address (-c)',
    invalid: 'choose another address (-c)',
    outside: "choose from the server's networks (-c, --announce), or give the server a --route for it",
    layer: 'use --tap at both ends or at neither',
    full: "raise the server's --max-clients",
    'not-allowed': "its --allow would have to cover this host's address",
  };
  const why = notice.text || notice.reason;
  return new TunconnectorError('ERR_REFUSED', `the server ${notice.outer} refused: ${why}`, {
    remedy: remedies[notice.reason ?? ''],
  });
}
