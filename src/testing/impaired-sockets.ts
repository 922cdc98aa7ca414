/**
 * UDP over loopback through an impaired link, in real time and without root: for tests of programs that have sockets of their
 * own (QUIC, WebRTC, games).
 *
 * A proxy stands in front of a server. Each client that talks to it gets a socket of its own towards the server, as behind a
 * NAT. Between the two a datagram is an IPv4 packet, so that rates, rules and flows see what they would see on a wire: from
 * 10.0.0.1, where the first client has port 1, the next 2, to 10.0.0.2 port 1. So the same seed has the same draws
 * whatever ports the system gave out. A `rebind` on the link shows: what leaves it by another address or port goes to the server
 * from another socket, whose address is that of the packet where it is one of 127.0.0.0/8. Datagrams that the link corrupted have wrong checksums and end here, as a kernel
 * would end them. Times in a spec count from when the link is opened.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { LiveRuntime } from '../engine/live-runtime.ts';
import { Network } from '../engine/network.ts';
import { type Impair, impair } from '../impair/impair.ts';
import { compileSpec, type ImpairSpec } from '../impair/spec/spec.ts';
import { formatIpAt, isLoopback, parseIp } from '../packet/address.ts';
import { udpPacket } from '../packet/build.ts';
import * as ipv4 from '../packet/ipv4.ts';
import { parseEndpoint } from '../packet/prefix.ts';
import { Protocol } from '../packet/protocol.ts';
import { Verdict, verifyTransport } from '../packet/transport.ts';
import * as udp from '../packet/udp.ts';
import { MemoryPort } from '../tun/memory.ts';
import type { BothWays } from './impaired-pair.ts';

const LOOPBACK = '127.0.0.1';
/** Clients at a time; datagrams of more are dropped and counted. */
const CLIENTS = 1024;
/** Sockets towards the server; beyond that the one that is there longest is closed. */
const SOCKETS = 2048;

const SERVER = { address: '10.0.0.2', port: 1 };

export interface UdpAddress {
  address: string;
  port: number;
}

interface Client extends UdpAddress {
  /** What the link knows it by. */
  inside: UdpAddress;
}

export interface ImpairedUdp extends AsyncDisposable {
  /** Where clients send to, in place of the server's address. */
  readonly address: string;
  readonly port: number;
  /** Datagrams that ended with a wrong checksum. */
  readonly corrupted: number;
  /** Datagrams of more clients than there may be. */
  readonly refused: number;
  /** New options, for what comes from now on. What is on its way keeps its time. */
  change(spec: ImpairSpec): Promise<void>;
  /** What each rule and stage did. */
  inspect(): BothWays;
  close(): Promise<void>;
}

class UdpProxy implements ImpairedUdp {
  readonly address = LOOPBACK;
  port = 0;
  corrupted = 0;
  refused = 0;
  readonly #server: UdpAddress;
  readonly #front = createSocket('udp4');
  readonly #clients = new Map<string, Client>();
  readonly #net = new Network(new LiveRuntime(), { memory: 256 << 20 });
  readonly #inside = new MemoryPort({ onPacket: (bytes) => this.#toClient(bytes) });
  readonly #outside = new MemoryPort({ onPacket: (bytes) => this.#toServer(bytes) });
  /** By port on the inside. */
  readonly #open = new Map<number, Client>();
  /** Towards the server, by what the link calls their end of it. */
  readonly #sockets = new Map<string, Socket>();
  #closed = false;

  constructor(server: UdpAddress) {
    this.#server = server;
  }

  async open(spec: ImpairSpec): Promise<this> {
    const { up, down } = compileSpec(spec);
    this.port = await bound(this.#front);
    try {
      this.#net.app('inside', this.#inside).app('outside', this.#outside);
      this.#net.app('up', impair(up)).app('down', impair(down));
      this.#net.link('inside.out -> up.in').link('up.out -> outside.in');
      await this.#net.link('outside.out -> down.in').link('down.out -> inside.in').start();
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#front.on('message', (payload, from) => this.#fromClient(payload, from));
    return this;
  }

  /** A client that may not have sent anything yet. */
  client({ address, port }: UdpAddress): Client {
    const name = `${address}:${port}`;
    let client = this.#clients.get(name);
    if (!client) {
      client = { address, port, inside: { address: '10.0.0.1', port: this.#clients.size + 1 } };
      this.#clients.set(name, client);
      this.#open.set(client.inside.port, client);
    }
    return client;
  }

  /** The port at which the server reaches a client before any rebinding. */
  async portOf({ inside }: Client): Promise<number> {
    const socket = this.#socketOf(inside);
    await once(socket, 'listening');
    return socket.address().port;
  }

  async change(spec: ImpairSpec): Promise<void> {
    const { up, down } = compileSpec(spec);
    await this.#net.app('up', impair(up)).app('down', impair(down)).commit();
  }

  inspect(): BothWays {
    return {
      up: this.#net.get<Impair>('up').inspect(),
      down: this.#net.get<Impair>('down').inspect(),
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await closed(this.#front);
    await Promise.all([...this.#sockets.values()].map(closed));
    await this.#net.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #fromClient(payload: Buffer, from: RemoteInfo): void {
    if (this.#clients.size >= CLIENTS && !this.#clients.has(`${from.address}:${from.port}`)) {
      this.refused++;
      return;
    }
    const client = this.client(from);
    if (!this.#closed) this.#inside.send(packet(client.inside, SERVER, payload));
  }

  #toServer(bytes: Uint8Array): void {
    if (!this.#whole(bytes) || this.#closed) return;
    const outside = { address: formatIpAt(bytes, ipv4.SOURCE, 4), port: portAt(bytes, udp.SOURCE_PORT) };
    this.#socketOf(outside).send(payloadOf(bytes), this.#server.port, this.#server.address);
  }

  /** The socket of an end of the link, bound or about to be. */
  #socketOf(outside: UdpAddress): Socket {
    const name = `${outside.address}:${outside.port}`;
    const known = this.#sockets.get(name);
    if (known) return known;
    const socket = createSocket('udp4');
    void bound(socket, isLoopback(parseIp(outside.address)) ? outside.address : LOOPBACK);
    socket.on('message', (payload, { address, port }) => {
      // Whoever else finds the port is not the server.
      if (port === this.#server.port && address === this.#server.address)
        this.#outside.send(packet(SERVER, outside, payload));
    });
    this.#sockets.set(name, socket);
    const [oldest] = this.#sockets;
    if (oldest && this.#sockets.size > SOCKETS) {
      this.#sockets.delete(oldest[0]);
      oldest[1].close();
    }
    return socket;
  }

  #toClient(bytes: Uint8Array): void {
    const client = this.#whole(bytes) ? this.#open.get(portAt(bytes, udp.DESTINATION_PORT)) : undefined;
    if (client && !this.#closed) this.#front.send(payloadOf(bytes), client.port, client.address);
  }

  #whole(bytes: Uint8Array): boolean {
    const whole =
      ipv4.check(bytes, 0, bytes.length) === 0 &&
      ipv4.checksumOk(bytes, 0) &&
      ipv4.protocol(bytes, 0) === Protocol.Udp &&
      verifyTransport(bytes, 0) !== Verdict.Wrong;
    if (!whole) this.corrupted++;
    return whole;
  }
}

function packet(from: UdpAddress, to: UdpAddress, payload: Uint8Array): Uint8Array {
  return udpPacket({ from: `${from.address}:${from.port}`, to: `${to.address}:${to.port}`, payload });
}

/** @param field where it stands in the UDP header */
function portAt(bytes: Uint8Array, field: number): number {
  const at = ipv4.headerLength(bytes, 0) + field;
  return (bytes[at] << 8) | bytes[at + 1];
}

const payloadOf = (bytes: Uint8Array): Uint8Array =>
  bytes.subarray(ipv4.headerLength(bytes, 0) + udp.HEADER, ipv4.totalLength(bytes, 0));

async function bound(socket: Socket, address = LOOPBACK): Promise<number> {
  socket.bind(0, address);
  await once(socket, 'listening');
  // Of datagrams that nobody takes any more a sender hears nothing either.
  socket.on('error', () => {});
  return socket.address().port;
}

const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.close(() => resolve()));

/**
 * An impaired way to a UDP server on this machine: clients send to the proxy's address instead. `up` is towards the server.
 *
 * @param to the server, as `127.0.0.1:4433` or its port
 * @throws ERR_CONFIG with what is wrong in the spec, ERR_ADDRESS for an address that is none
 */
export async function impairedUdp(to: string | number, spec: ImpairSpec): Promise<ImpairedUdp> {
  const { address, port } = parseEndpoint(typeof to === 'number' ? `${LOOPBACK}:${to}` : to);
  return new UdpProxy({ address: formatIpAt(address.bytes, 0, address.family), port }).open(spec);
}

export interface ImpairedSockets extends AsyncDisposable {
  /** Ordinary sockets on 127.0.0.1, bound and not connected. They are closed with the rest. */
  a: Socket;
  b: Socket;
  /** Where each sends to so that the other gets it: `a.send('hello', toB.port, toB.address)`. */
  toA: UdpAddress;
  toB: UdpAddress;
  change(spec: ImpairSpec): Promise<void>;
  inspect(): BothWays;
  close(): Promise<void>;
}

/**
 * Two UDP sockets with an impaired link between them. `up` is from `a` to `b`.
 *
 * @throws ERR_CONFIG with what is wrong in the spec
 * @example
 * const { a, b, toB, close } = await impairedSockets({ both: 'delay 50ms', up: 'delay 50ms loss 1%', seed: 7 });
 * b.on('message', (text) => console.log(`${text}`));
 * a.send('hello', toB.port, toB.address);
 */
export async function impairedSockets(spec: ImpairSpec): Promise<ImpairedSockets> {
  const a = createSocket('udp4');
  const b = createSocket('udp4');
  const here = { address: LOOPBACK, port: await bound(a) };
  const there = { address: LOOPBACK, port: await bound(b) };
  const close = async (): Promise<void> => {
    await Promise.all([a, b].map(closed));
  };
  try {
    const proxy = await new UdpProxy(there).open(spec);
    const toA = { address: LOOPBACK, port: await proxy.portOf(proxy.client(here)) };
    const end = async (): Promise<void> => {
      await proxy.close();
      await close();
    };
    return {
      a,
      b,
      toA,
      toB: { address: proxy.address, port: proxy.port },
      change: (next) => proxy.change(next),
      inspect: () => proxy.inspect(),
      close: end,
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
