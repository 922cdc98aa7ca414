/** The largest datagrams there are, and congestion marks that the outer path puts on whole trains. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ipv4, ipv6, tcpPacket, udpPacket } from '../../src/packet/index.ts';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { InterfaceTap } from './interface-port.ts';
import { Joined, PORT } from './tunnel-end.ts';

/** Says size and hash of each datagram that it gets, and answers it. */
const RECEIVER = `
const socket = require('dgram').createSocket(process.argv[1].includes(':') ? 'udp6' : 'udp4');
socket.on('message', (data, from) => {
  console.log(data.length, require('crypto').createHash('sha256').update(data).digest('hex').slice(0, 16));
  socket.send('got it', from.port, from.address);
});
socket.bind(7001, process.argv[1], () => console.log('ready'));`;
/** Sends datagrams of the sizes in its arguments, one after the other, and says the same of each. */
const SENDER = `
const [address, ...sizes] = process.argv.slice(1);
const socket = require('dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
(async () => {
  for (const size of sizes.map(Number)) {
    const data = Buffer.from({ length: size }, (_, i) => (i * 13 + size) ^ (i >> 8));
    console.log(size, require('crypto').createHash('sha256').update(data).digest('hex').slice(0, 16));
    const answer = new Promise((resolve) => socket.once('message', resolve));
    socket.send(data, 7001, address);
    // The receiver's socket holds three of the largest: the next one waits.
    await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 2000).unref())]);
  }
  socket.close();
})();`;
const SIZES = [0, 1, 2, 1443, 1444, 1445, 2944, 8972, 40_000, 65_506, 65_507];

async function datagrams(from: Host, to: Host, address: string, sizes: readonly number[]) {
  const receiver = to.spawn([process.execPath, '-e', RECEIVER, address]);
  await receiver.waitFor('ready');
  const sender = [process.execPath, '-e', SENDER, address, ...sizes.map(String)];
  const { stdout } = await from.exec(sender, { check: true });
  const lines = () => receiver.stdout.trim().split('\n').slice(1);
  for (const end = performance.now() + 3000; performance.now() < end && lines().length < sizes.length; )
    await sleep(20);
  const received = lines();
  await receiver.stop('SIGKILL');
  return { sent: stdout.trim().split('\n'), received };
}

/** Marks half of the datagrams for the tunnel, as a busy router would: every other one that may be. */
const MARK = `
add table ip marks
add chain ip marks in { type filter hook prerouting priority -300; }
add rule ip marks in udp dport ${PORT} ip ecn { ect0, ect1 } numgen inc mod 2 0 ip ecn set ce`;

describe.skipIf(needs('root', 'tun', 'ping', 'nft'))('a tunnel at its edges', () => {
  it.each([
    ['L3', {}],
    ['L3', { offload: false }],
    ['L2', {}],
  ] as const)('carries datagrams of every size up to 65507 bytes: %s %o', async (layer, device) => {
    await using joined = await Joined.open({ layer, device });
    const { a, b, addresses } = joined;
    const before = joined.client.drops();
    for (const family of [4, 6] as const) {
      // The kernel cuts them for the interface's MTU and puts them together at the far side.
      for (const [from, to, address] of [
        [a, b, addresses[family].server],
        [b, a, addresses[family].client],
      ] as const) {
        const { sent, received } = await datagrams(from, to, address, SIZES);
        expect(sent).toHaveLength(SIZES.length);
        expect(received).toEqual(sent);
      }
    }
    expect(joined.client.drops()).toEqual(before);
  });

  it('carries packets of 65507 bytes whole where the path does', async () => {
    await using joined = await Joined.open({ wireMtu: 65_535 });
    const { a, b, mtu, addresses } = joined;
    expect(mtu).toBe(65_507);
    await using near = await InterfaceTap.open(a, 'tun0', 'L3');
    await using far = await InterfaceTap.open(b, 'tun0', 'L3');
    const packets = ([4, 6] as const).flatMap((family) => {
      const { client, server } = addresses[family];
      const [from, to] = family === 4 ? [`${client}:5`, `${server}:9`] : [`[${client}]:5`, `[${server}]:9`];
      const header = family === 4 ? 20 : 40;
      return [
        udpPacket({ from, to, payload: mtu - header - 8 }),
        tcpPacket({ from, to, payload: mtu - header - 20 }),
        tcpPacket({ from, to, payload: 32_001 }),
      ];
    });
    near.send(packets);
    const large = () => far.received.filter(({ length }) => length > 20_000);
    for (const end = performance.now() + 3000; performance.now() < end && large().length < packets.length; )
      await sleep(20);
    expect(large().map(({ length }) => length)).toEqual(packets.map(({ length }) => length));
    expect(large().every((bytes, i) => Buffer.compare(bytes, packets[i]!) === 0)).toBe(true);
    const { sent, received } = await datagrams(a, b, addresses[4].server, [65_507, 65_479, 65_480]);
    expect(received).toEqual(sent);
  });

  it('puts congestion that the outer path tells of into the packets inside, and nothing else', async () => {
    await using joined = await Joined.open();
    const { a, b, addresses } = joined;
    await b.exec(['nft', '-f', '-'], { input: MARK, check: true });
    await a.ip('link set tun0 txqueuelen 4000');
    await using near = await InterfaceTap.open(a, 'tun0', 'L3');
    await using far = await InterfaceTap.open(b, 'tun0', 'L3');
    const marked = { total: 0, ce: 0 };
    for (const family of [4, 6] as const) {
      const { client, server } = addresses[family];
      const [from, to] = family === 4 ? [`${client}:5`, `${server}:9`] : [`[${client}]:5`, `[${server}]:9`];
      for (const ecn of [0, 1, 2, 3]) {
        const packets = Array.from({ length: 90 }, (_, i) =>
          tcpPacket({ from, to, ecn, sequence: 1000 * i, identification: i, payload: 1000 }),
        );
        const before = far.received.length;
        // Ten at a time: each burst is a train, and a train gets one mark.
        for (let i = 0; i < packets.length; i += 10) {
          near.send(packets.slice(i, i + 10));
          await sleep(5);
        }
        const arrived = () => far.received.slice(before).filter(({ length }) => length >= 1000);
        for (const end = performance.now() + 3000; performance.now() < end && arrived().length < 90; )
          await sleep(20);
        const seen = arrived();
        expect(seen).toHaveLength(90);
        const ces = seen.filter((bytes) => ecnOf(bytes) === 3).length;
        if (ecn === 0) expect(ces).toBe(0);
        if (ecn === 3) expect(ces).toBe(90);
        if (ecn === 1 || ecn === 2) {
          marked.total += 90;
          marked.ce += ces;
        }
        // What it would be had it been sent with that mark: the header's checksum fits too.
        for (const [i, bytes] of seen.entries()) {
          const options = { from, to, sequence: 1000 * i, identification: i, payload: 1000 };
          expect(Buffer.compare(bytes, tcpPacket({ ...options, ecn: ecnOf(bytes) }))).toBe(0);
          expect([ecn, 3]).toContain(ecnOf(bytes));
        }
      }
    }
    expect(marked.ce).toBeGreaterThan(marked.total / 10);
    expect(marked.ce).toBeLessThan((marked.total * 9) / 10);
    // A mark on what cannot carry one says that the path is broken (RFC 6040 4.2): dropped, and counted.
    await b.exec(
      ['nft', 'add', 'rule', 'ip', 'marks', 'in', 'udp', 'dport', `${PORT}`, 'ip', 'ecn', 'set', 'ce'],
      {
        check: true,
      },
    );
    const dropped = () => joined.server.drops()['outer-congestion-not-ect'] ?? 0;
    expect(dropped()).toBe(0);
    near.send(
      Array.from({ length: 7 }, () => udpPacket({ from: '10.0.0.3:5', to: '10.0.0.2:9', payload: 900 })),
    );
    for (const end = performance.now() + 3000; performance.now() < end && dropped() < 7; ) await sleep(20);
    expect(dropped()).toBeGreaterThanOrEqual(7);
  });
});

const ecnOf = (bytes: Uint8Array) => (bytes[0]! >> 4 === 4 ? ipv4.ecn(bytes, 0) : ipv6.ecn(bytes, 0));
