/**
 * Names behind a link: the name servers of this host as far as they are reached through the link. One on a loopback address
 * (systemd-resolved, dnsmasq) is not; for it a relay answers at the link's outer end.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { isIp, isLinkLocal, isLoopback, isUnspecified, parseIp } from '../../packet/address.ts';

const PORT = 53;
/** Questions that wait for their answers at the same time. */
const MAX_QUESTIONS = 512;
const MAX_CONNECTIONS = 64;
/** Longer than resolvers wait, ms. */
const PATIENCE = 10_000;
/** The resolver's own default (resolv.conf(5)). */
const DEFAULT_SERVER = '127.0.0.1';
const LINE = /^\s*nameserver\s+(\S+)/;

export interface Resolver {
  /** What resolv.conf says behind the link. */
  text: string;
  /** Name servers of this host that the relay is to ask, in their order. */
  relayed: string[];
}

/**
 * resolv.conf as it has to be behind a link; undefined where it serves as it is.
 * @param gateway address of the relay
 */
export function resolverBehind(
  text: string,
  gateway: string,
  families: readonly (4 | 6)[],
): Resolver | undefined {
  const lines = text.split('\n');
  const servers = lines.flatMap((line) => LINE.exec(line)?.[1] ?? []);
  const relayed = servers.filter((server) => !isReachable(server, families));
  if (servers.length === 0) {
    const own = [`nameserver ${gateway}`, ...lines.filter((line) => line !== '')];
    return { text: `${own.join('\n')}\n`, relayed: [DEFAULT_SERVER] };
  }
  if (relayed.length === 0) return undefined;
  let told = false;
  const own = lines.flatMap((line) => {
    const server = LINE.exec(line)?.[1];
    if (server === undefined || isReachable(server, families)) return [line];
    if (told) return [];
    told = true;
    return [`nameserver ${gateway}`];
  });
  return { text: own.join('\n'), relayed };
}

function isReachable(server: string, families: readonly (4 | 6)[]): boolean {
  if (!isIp(server)) return false; // It has a zone, which means nothing elsewhere.
  const address = parseIp(server);
  if (isLoopback(address) || isUnspecified(address) || isLinkLocal(address)) return false;
  return families.includes(address.family);
}

/** Passes questions of one client on, and their answers back. */
export class NameRelay {
  readonly #client: string;
  readonly #servers: readonly string[];
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #questions = new Set<UdpSocket>();
  readonly #connections = new Set<Socket>();

  private constructor(client: string, servers: readonly string[]) {
    this.#client = client;
    this.#servers = servers;
    this.#udp = createSocket('udp4', (question, from) => this.#question(question, from));
    // Whoever asks may send on before the answer has come.
    this.#tcp = createServer({ allowHalfOpen: true }, (socket) => this.#connection(socket));
    this.#tcp.maxConnections = MAX_CONNECTIONS;
  }

  /** @returns undefined where a name server of this host listens at all addresses, and so answers by itself */
  static async open(
    address: string,
    client: string,
    servers: readonly string[],
  ): Promise<NameRelay | undefined> {
    const relay = new NameRelay(client, servers);
    try {
      await listening(relay.#udp, () => relay.#udp.bind(PORT, address));
      await listening(relay.#tcp, () => relay.#tcp.listen(PORT, address));
    } catch (error) {
      relay.close();
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined;
      throw error;
    }
    // A question that cannot be answered is asked again.
    relay.#udp.on('error', () => {});
    relay.#tcp.on('error', () => {});
    return relay;
  }

  close(): void {
    try {
      this.#udp.close();
    } catch {
      // It never was bound.
    }
    this.#tcp.close();
    for (const question of this.#questions) question.close();
    this.#questions.clear();
    for (const socket of this.#connections) socket.destroy();
  }

  /** Nobody but the command: an address of this host may be reached from other places. */
  #question(question: Buffer, from: RemoteInfo): void {
    if (from.address === this.#client) this.#ask(question, from, 0);
  }

  #ask(question: Buffer, from: RemoteInfo, nth: number): void {
    const server = this.#servers[nth];
    if (server === undefined || this.#questions.size >= MAX_QUESTIONS) return;
    const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
    this.#questions.add(socket);
    const timer = setTimeout(() => end(), PATIENCE).unref();
    const end = () => {
      clearTimeout(timer);
      if (this.#questions.delete(socket)) socket.close();
    };
    socket.on('error', () => {
      const open = this.#questions.has(socket);
      end();
      if (open) this.#ask(question, from, nth + 1);
    });
    socket.on('message', (answer) => {
      if (this.#questions.has(socket)) this.#udp.send(answer, from.port, from.address);
      end();
    });
    socket.on('connect', () => socket.send(question));
    socket.connect(PORT, server);
  }

  #connection(client: Socket): void {
    if (client.remoteAddress !== this.#client) {
      client.destroy();
      return;
    }
    this.#track(client);
    this.#join(client, 0);
  }

  #join(client: Socket, nth: number): void {
    const host = this.#servers[nth];
    if (host === undefined) {
      client.destroy();
      return;
    }
    const server = connect({ host, port: PORT, allowHalfOpen: true });
    this.#track(server);
    let connected = false;
    server.once('connect', () => {
      connected = true;
      client.pipe(server).pipe(client);
    });
    server.once('close', () => {
      if (connected) client.end();
      else if (!client.destroyed) this.#join(client, nth + 1);
    });
    client.once('close', () => server.destroy());
  }

  #track(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#connections.delete(socket));
    socket.setTimeout(PATIENCE, () => socket.destroy());
  }
}

/** Waits for `listening`, or throws what kept it from that. */
function listening(socket: UdpSocket | Server, begin: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    (socket as Server).once('listening', () => {
      socket.off('error', reject);
      resolve();
    });
    begin();
  });
}
