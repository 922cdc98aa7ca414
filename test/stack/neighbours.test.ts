import { describe, expect, it } from 'vitest';
import { Network, randomStream, VirtualRuntime } from '../../src/engine/index.ts';
import {
  arp,
  describePacket,
  EtherType,
  ethernet,
  formatMac,
  icmpEcho,
  icmpv6,
  ipPacket,
  Protocol,
  parseIp,
} from '../../src/packet/index.ts';
import { Neighbours, Stack } from '../../src/stack/index.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { dropsOf } from './hosts.ts';

const MINE = '02:00:00:00:00:02';
const THEIRS = '02:00:00:00:00:01';
const LIAR = '02:00:00:00:00:66';
const ADDRESSES = ['10.0.0.2/24', 'fd00::2/64'];

/** A stack behind ARP and ND, and a port for what is on its link. */
async function station() {
  const runtime = new VirtualRuntime({ seed: 1 });
  const net = new Network(runtime);
  const link = new MemoryPort({ layer: 'L2' });
  const events: string[] = [];
  const host = new Stack({
    interfaces: [{ name: 'eth0', addresses: ADDRESSES }],
    routes: [
      { to: '0.0.0.0/0', via: '10.0.0.1' },
      { to: '::/0', via: 'fd00::1' },
    ],
  });
  net
    .app('host', host)
    .app('arp', new Neighbours({ mac: MINE, addresses: ADDRESSES }))
    .app('link', link)
    .link('link.out -> arp.frames')
    .link('arp.frames -> link.in')
    .link('host.eth0 -> arp.packets')
    .link('arp.packets -> host.eth0');
  net.on('event', (_, event) => events.push(`${event.type} ${event.address}`));
  await net.start();
  runtime.advance('1ms');
  const take = () => {
    const frames = link.received.map(
      ({ bytes }) => `> ${formatMac(bytes)} ${describePacket(bytes, 0, bytes.length, 2)}`,
    );
    link.received.length = 0;
    return frames;
  };
  const send = (...frames: Uint8Array[]) => {
    for (const frame of frames) link.send(frame);
    runtime.advance('1ms');
    return take();
  };
  return {
    net,
    runtime,
    host,
    link,
    events,
    take,
    send,
    drops: () => dropsOf(net.report()),
    [Symbol.asyncDispose]: () => net.close(),
  };
}

interface Said {
  operation?: number;
  senderMac?: string;
  senderIp?: string;
  targetMac?: string;
  targetIp?: string;
  to?: string;
}

function arpFrame(said: Said): Uint8Array {
  const { operation = 2, senderMac = THEIRS, senderIp = '10.0.0.1', to = MINE } = said;
  const { targetMac = MINE, targetIp = '10.0.0.2' } = said;
  const frame = new Uint8Array(60);
  ethernet.emit({ source: senderMac, destination: to, type: EtherType.Arp }, frame);
  arp.emit({ operation, senderMac, senderIp, targetMac, targetIp }, frame, 14);
  return frame;
}

function ndFrame(said: {
  type: 135 | 136;
  target: string;
  from?: string;
  to: string;
  mac?: string;
  solicited?: boolean;
  hopLimit?: number;
  frameTo?: string;
}): Uint8Array {
  const { mac = THEIRS, from = 'fd00::1', frameTo = MINE } = said;
  const transport = new Uint8Array(32);
  const linkAddress = Uint8Array.from(mac.split(':').map((part) => Number.parseInt(part, 16)));
  const { type, target, solicited = true } = said;
  icmpv6.emitNeighbor({ type, target, linkAddress, solicited, override: true }, transport);
  return ipPacket({
    from: parseIp(from),
    to: parseIp(said.to),
    protocol: Protocol.Icmpv6,
    transport,
    ttl: said.hopLimit ?? 255,
    ethernet: { source: mac, destination: frameTo },
  });
}

const ping = (from: string, to: string, source = THEIRS) =>
  icmpEcho({ from, to, payload: 'x', ethernet: { source, destination: MINE } });
const macOf = (frame: string) => /> ([0-9a-f:]{17})/.exec(frame)?.[1];

describe('a station', () => {
  it('says that it is there', async () => {
    await using here = await station();
    const [four, six] = here.take();
    expect(four).toContain('10.0.0.2');
    expect(six).toContain('fd00::2');
  });

  it.each([
    ['ARP', arpFrame({ operation: 1, targetMac: '00:00:00:00:00:00', to: 'ff:ff:ff:ff:ff:ff' }), 'is-at'],
    [
      'Neighbor Discovery',
      ndFrame({ type: 135, target: 'fd00::2', to: 'ff02::1:ff00:2', frameTo: '33:33:ff:00:00:02' }),
      'advertisement',
    ],
  ])('answers who asks for its address by %s, and then knows who asked', async (_, question, word) => {
    await using here = await station();
    here.take();
    const [answer, ...more] = here.send(question);
    expect(more).toEqual([]);
    expect(answer).toContain(word);
    expect(macOf(answer!)).toBe(THEIRS);
    const isV4 = word === 'is-at';
    const replies = here.send(isV4 ? ping('10.0.0.1', '10.0.0.2') : ping('fd00::1', 'fd00::2'));
    expect(replies.length).toBe(1);
    expect(replies[0]).toContain('echo reply');
    expect(here.drops()).toEqual({});
  });

  it.each([
    ['ARP', '10.0.0.1', '10.0.0.2', arpFrame({})],
    ['Neighbor Discovery', 'fd00::1', 'fd00::2', ndFrame({ type: 136, target: 'fd00::1', to: 'fd00::2' })],
  ])('asks by %s, keeps what waits, and sends it then', async (_, from, to, answer) => {
    await using here = await station();
    here.take();
    const asked = here.send(ping(from, to), ping(from, to));
    expect(asked.length).toBe(1);
    const replies = here.send(answer);
    expect(replies.map((frame) => frame.includes('echo reply'))).toEqual([true, true]);
    expect(replies.map(macOf)).toEqual([THEIRS, THEIRS]);
    expect(here.drops()).toEqual({});
  });

  it('sends through a gateway what is not on the link', async () => {
    await using here = await station();
    here.take();
    const asked = here.send(ping('192.0.2.1', '10.0.0.2'));
    expect(asked.length).toBe(1);
    expect(asked[0]).toContain('10.0.0.1');
    expect(here.send(arpFrame({}))[0]).toContain('10.0.0.2 > 192.0.2.1');
  });

  it('asks three times, a second apart, and gives up', async () => {
    await using here = await station();
    here.take();
    here.send(...Array.from({ length: 20 }, () => ping('10.0.0.9', '10.0.0.2')));
    here.runtime.advance('10s');
    expect(here.link.received.map(({ time }) => Math.round(time / 1e9))).toEqual([1, 2]);
    expect(here.drops()).toEqual({ 'neighbour-queue-full': 4, 'neighbour-unreachable': 16 });
  });

  it('asks anew a neighbour that was silent for long, at its known address, and forgets it when it is gone', async () => {
    await using here = await station();
    here.take();
    here.send(ping('10.0.0.1', '10.0.0.2'));
    here.send(arpFrame({}));
    here.runtime.advance('31s');
    expect(here.send(ping('10.0.0.1', '10.0.0.2')).length).toBe(1);
    here.runtime.advance('20s');
    const probes = here.take();
    expect(probes.length).toBe(3);
    expect(new Set(probes.map(macOf))).toEqual(new Set([THEIRS]));
    const asked = here.send(ping('10.0.0.1', '10.0.0.2'));
    expect(asked.map(macOf)).toEqual(['ff:ff:ff:ff:ff:ff']);
  });
});

describe('a liar on the link', () => {
  /** A station that knows the gateway. */
  async function informed() {
    const here = await station();
    here.take();
    here.send(ping('10.0.0.1', '10.0.0.2'));
    here.send(arpFrame({}));
    here.send(ping('fd00::1', 'fd00::2'));
    here.send(ndFrame({ type: 136, target: 'fd00::1', to: 'fd00::2' }));
    return here;
  }
  const lies: [string, Uint8Array][] = [
    ['an answer that nobody asked for', arpFrame({ senderMac: LIAR })],
    [
      'a gratuitous request',
      arpFrame({ operation: 1, senderMac: LIAR, targetIp: '10.0.0.1', to: 'ff:ff:ff:ff:ff:ff' }),
    ],
    ['a request for this station', arpFrame({ operation: 1, senderMac: LIAR, to: 'ff:ff:ff:ff:ff:ff' })],
    [
      'an unsolicited advertisement',
      ndFrame({
        type: 136,
        target: 'fd00::1',
        to: 'ff02::1',
        mac: LIAR,
        solicited: false,
        frameTo: '33:33:00:00:00:01',
      }),
    ],
    ['a solicited advertisement', ndFrame({ type: 136, target: 'fd00::1', to: 'fd00::2', mac: LIAR })],
  ];

  it.each(lies)('does not take the place of the gateway: %s', async (_, lie) => {
    await using here = await informed();
    const frames = here.send(lie);
    // Who is known is asked, and its traffic goes to it meanwhile.
    expect(frames.filter((frame) => macOf(frame) === THEIRS).length).toBe(1);
    const replies = here.send(ping('10.0.0.1', '10.0.0.2'), ping('fd00::1', 'fd00::2'));
    expect(replies.map(macOf)).toEqual([THEIRS, THEIRS]);
    // Confirmed, nothing more comes.
    here.send(arpFrame({}), ndFrame({ type: 136, target: 'fd00::1', to: 'fd00::2' }));
    here.runtime.advance('2s');
    expect(here.take()).toEqual([]);
  });

  it('takes the place of a gateway that is gone', async () => {
    await using here = await informed();
    here.send(arpFrame({ senderMac: LIAR }));
    here.runtime.advance('5s');
    here.take();
    here.send(ping('10.0.0.1', '10.0.0.2'));
    here.send(arpFrame({ senderMac: LIAR }));
    expect(here.send(ping('10.0.0.1', '10.0.0.2')).map(macOf)).toEqual([LIAR]);
  });

  it('cannot have the address of this station, which says so once in ten seconds', async () => {
    await using here = await informed();
    const claim = arpFrame({ operation: 1, senderMac: LIAR, senderIp: '10.0.0.2', to: 'ff:ff:ff:ff:ff:ff' });
    expect(here.send(claim, claim, claim).length).toBe(1);
    expect(here.events).toEqual(['address-conflict 10.0.0.2']);
    here.runtime.advance('10s');
    expect(here.send(claim).length).toBe(1);
  });

  it.each<[string, Uint8Array]>([
    ['from another link', ndFrame({ type: 136, target: 'fd00::1', to: 'fd00::2', hopLimit: 254 })],
    ['with two sources', Object.assign(arpFrame({}), { 11: 9 })],
    ['that ends early', arpFrame({}).slice(0, 40)],
    ['of another kind', Object.assign(arpFrame({}), { 15: 9 })],
  ])('is not heard when its message is malformed: %s', async (_, frame) => {
    await using here = await station();
    here.take();
    expect(here.send(frame)).toEqual([]);
    expect(here.drops()).toEqual({ 'discovery-malformed': 1 });
  });

  it('cannot send a host a packet in a frame for everybody, or for another station', async () => {
    await using here = await informed();
    const packet = (destination: string) =>
      icmpEcho({ from: '10.0.0.1', to: '10.0.0.2', ethernet: { source: THEIRS, destination } });
    expect(here.send(packet('ff:ff:ff:ff:ff:ff'), packet(LIAR))).toEqual([]);
    expect(here.drops()).toEqual({ 'frame-to-group': 1, 'frame-not-mine': 1 });
  });

  it('who claims all addresses of the link leaves the known ones, and the memory, alone', async () => {
    await using here = await informed();
    for (let i = 0; i < 20_000; i += 500) {
      const frames = Array.from({ length: 500 }, (_, j) => {
        const senderIp = `10.0.0.${3 + ((i + j) % 250)}`;
        return arpFrame({ operation: 1, senderMac: LIAR, senderIp });
      });
      here.send(...frames);
    }
    expect(here.send(ping('10.0.0.1', '10.0.0.2')).map(macOf)).toEqual([THEIRS]);
    expect(here.net.report().memory.livePackets).toBe(0);
  });
});

describe('mutated frames', () => {
  it('of discovery harm nobody: 50 000 leave no packet behind and the station as it was', {
    timeout: 60_000,
  }, async () => {
    await using here = await station();
    const random = randomStream(3, 'frames');
    const all = [
      arpFrame({}),
      arpFrame({ operation: 1, to: 'ff:ff:ff:ff:ff:ff' }),
      ndFrame({ type: 135, target: 'fd00::2', to: 'ff02::1:ff00:2', frameTo: '33:33:ff:00:00:02' }),
      ndFrame({ type: 136, target: 'fd00::1', to: 'fd00::2' }),
      ping('10.0.0.1', '10.0.0.2'),
      ping('fd00::1', 'fd00::2'),
    ];
    for (let i = 0; i < 50_000; i += 500) {
      for (let j = 0; j < 500; j++) {
        let frame = all[random.below(all.length)]!.slice();
        for (let n = random.below(4); n > 0; n--) frame[random.below(frame.length)] = random.u32();
        if (random.below(8) === 0) frame = frame.subarray(0, random.below(frame.length + 1));
        here.link.send(frame);
      }
      here.runtime.advance('10ms');
      here.link.received.length = 0;
    }
    expect(Object.keys(here.drops())).toEqual(
      expect.arrayContaining(['discovery-malformed', 'discovery-unasked', 'frame-not-mine', 'frame-type']),
    );
    // What waits for neighbours that there are not is given up.
    here.runtime.advance('60s');
    expect(here.net.report().memory.livePackets).toBe(0);
    here.take();
    here.send(ping('10.0.0.1', '10.0.0.2'));
    here.send(arpFrame({}));
    expect(here.send(ping('10.0.0.1', '10.0.0.2')).map(macOf)).toEqual([THEIRS]);
  });
});
