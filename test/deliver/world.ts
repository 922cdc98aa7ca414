/** A client on a stack of its own, behind it a delivery with sockets of the test. In virtual time. */

import { Delivery } from '../../src/deliver/deliver.ts';
import { checkDeliver, type DeliverOptions } from '../../src/deliver/options.ts';
import type {
  Outward,
  OutwardConnection,
  OutwardDatagramHandlers,
  OutwardDatagrams,
  OutwardEchoes,
  OutwardEchoHandlers,
  OutwardHandlers,
} from '../../src/deliver/outward.ts';
import { Network, totalDrops, VirtualRuntime } from '../../src/engine/index.ts';
import { Stack } from '../../src/stack/index.ts';

export class FakeConnection implements OutwardConnection {
  readonly to: string;
  readonly handlers: OutwardHandlers;
  readonly written: Uint8Array[] = [];
  /** What `write` answers. */
  takes = true;
  ended = false;
  wasReset = false;
  resumed = 0;

  constructor(to: string, handlers: OutwardHandlers) {
    this.to = to;
    this.handlers = handlers;
  }

  get bytes(): number {
    return this.written.reduce((sum, each) => sum + each.length, 0);
  }

  get text(): string {
    return Buffer.concat(this.written).toString();
  }

  write(bytes: Uint8Array): boolean {
    this.written.push(bytes);
    return this.takes;
  }

  end(): void {
    this.ended = true;
  }

  reset(): void {
    this.wasReset = true;
  }

  resume(): void {
    this.resumed++;
  }
}

export class FakeDatagrams implements OutwardDatagrams {
  readonly to: string;
  readonly handlers: OutwardDatagramHandlers;
  readonly sent: string[] = [];
  closed = false;

  constructor(to: string, handlers: OutwardDatagramHandlers) {
    this.to = to;
    this.handlers = handlers;
  }

  send(bytes: Uint8Array): boolean {
    this.sent.push(new TextDecoder().decode(bytes));
    return true;
  }

  close(): void {
    this.closed = true;
  }
}

export class FakeEchoes implements OutwardEchoes {
  readonly to: string;
  readonly handlers: OutwardEchoHandlers;
  /** `SEQUENCE TTL DATA` of each request. */
  readonly sent: string[] = [];
  /** What `send` answers. */
  fails: string | undefined;
  closed = false;

  constructor(to: string, handlers: OutwardEchoHandlers) {
    this.to = to;
    this.handlers = handlers;
  }

  send(sequence: number, data: Uint8Array, ttl: number): string | undefined {
    if (this.fails === undefined) this.sent.push(`${sequence} ${ttl} ${new TextDecoder().decode(data)}`);
    return this.fails;
  }

  close(): void {
    this.closed = true;
  }
}

export class FakeOutward implements Outward {
  readonly connections: FakeConnection[] = [];
  readonly sockets: FakeDatagrams[] = [];
  readonly pings: FakeEchoes[] = [];
  own: string[] = [];
  /** Why there are no sockets for pings. */
  noPings: string | undefined;

  connect(address: string, port: number, handlers: OutwardHandlers): OutwardConnection {
    const connection = new FakeConnection(`${address} ${port}`, handlers);
    this.connections.push(connection);
    return connection;
  }

  datagrams(address: string, port: number, handlers: OutwardDatagramHandlers): OutwardDatagrams {
    const socket = new FakeDatagrams(`${address} ${port}`, handlers);
    this.sockets.push(socket);
    return socket;
  }

  echoes(address: string, handlers: OutwardEchoHandlers): OutwardEchoes | string {
    if (this.noPings !== undefined) return this.noPings;
    const ping = new FakeEchoes(address, handlers);
    this.pings.push(ping);
    return ping;
  }

  ownAddresses(): string[] {
    return this.own;
  }
}

export async function deliveryWorld(options: DeliverOptions = {}, own: string[] = []) {
  const runtime = new VirtualRuntime({ seed: 1 });
  const outward = new FakeOutward();
  outward.own = own;
  const client = new Stack({
    interfaces: [{ name: 'eth0', addresses: ['10.8.0.2/24', 'fd08::2/64'] }],
    routes: ['0.0.0.0/0', '::/0'].map((to) => ({ to, interface: 'eth0' })),
  });
  const delivery = new Delivery(checkDeliver(options), outward);
  const net = new Network(runtime, { memory: 256 << 20 }).app('client', client).app('deliver', delivery);
  await net.link('client.eth0 -> deliver.inside').link('deliver.inside -> client.eth0').start();
  runtime.advance('1ms');
  return {
    ...{ runtime, outward, client, delivery, net },
    drops: () => totalDrops(net.report()),
    [Symbol.asyncDispose]: () => net.close(),
  };
}
