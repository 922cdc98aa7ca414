/** An impaired link between two memory ports in virtual time, and the server of it. */
import { MessageChannel } from 'node:worker_threads';
import type { WebSocket } from 'ws';
import { ImpairedLink, type ImpairedNetwork } from '../../src/control/impair/link.ts';
import { makeLinkServer } from '../../src/control/impair/serve.ts';
import { attachedFunction } from '../../src/engine/attach.ts';
import { type ImpairSpec, writtenSpec } from '../../src/impair/spec/spec.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { type ImpairedPair, impairedPair } from '../../src/testing/impaired-pair.ts';
import { asker } from './ask.ts';

export const SEED = 7;

export interface TestLink extends AsyncDisposable {
  link: ImpairedLink;
  pair: ImpairedPair;
}

export async function testLink(spec: ImpairSpec = {}): Promise<TestLink> {
  const written = { seed: SEED, ...writtenSpec(spec) };
  const pair = await impairedPair(written);
  const network: ImpairedNetwork = {
    async attach({ module, export: name, options }) {
      const { port1, port2 } = new MessageChannel();
      const attached = await attachedFunction(String(module), name);
      return { result: (await attached(pair.net, options, port2)) as never, port: port1 };
    },
    async replace(apps) {
      for (const [name, app] of Object.entries(apps)) pair.net.app(name, app);
      await pair.net.commit();
    },
  };
  const settings = { spec: writtenSpec(spec), seed: SEED, left: 'a', right: 'b' };
  const link = await ImpairedLink.over(network, pair.runtime, settings);
  return {
    ...{ link, pair },
    async [Symbol.asyncDispose]() {
      link.close();
      await pair[Symbol.asyncDispose]();
    },
  };
}

export async function testServer(spec: ImpairSpec = {}, { token }: { token?: string } = {}) {
  const { link, pair } = await testLink(spec);
  const faults: Error[] = [];
  const { server, streams } = await makeLinkServer(link, pair.runtime, {
    version: '1.2.3',
    unexpected: (error) => faults.push(error),
    ...(token === undefined ? {} : { token }),
  });
  return {
    ...{ link, pair, server, streams, faults },
    /** Asks without a socket. */
    ask: asker(server),
    async [Symbol.asyncDispose]() {
      streams.close();
      await server.close();
      link.close();
      await pair[Symbol.asyncDispose]();
    },
  };
}
export type TestServer = Awaited<ReturnType<typeof testServer>>;

/** A datagram of the flow that is told by its port. */
export const datagram = (port = 1000, payload = 100): Uint8Array =>
  udpPacket({ from: `10.0.0.1:${port}`, to: '10.0.0.2:53', payload });

/** Messages that ports and sockets have for each other by now have arrived. */
export async function settled(turns = 20): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise(setImmediate);
}

/** Goes on until it holds, a step of time after the other. */
export async function until(
  { pair }: Pick<TestServer, 'pair'>,
  condition: () => boolean,
  step: `${number}ms` = '50ms',
): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) {
    pair.runtime.advance(step);
    await settled();
  }
  if (!condition()) throw new Error('it never came to be');
}

/** What a WebSocket has heard. */
export function messagesOf(socket: WebSocket): { type: string; [key: string]: unknown }[] {
  const messages: { type: string }[] = [];
  socket.on('message', (data) => messages.push(JSON.parse(String(data))));
  return messages;
}
