import { type Answer, decode, encode, type Packet } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { Network, VirtualRuntime } from '../../src/engine/index.ts';
import { Stack, type UdpPeer, type UdpSocket } from '../../src/stack/index.ts';

type Reply = (query: Packet, from: UdpPeer, asked: number) => Packet | Uint8Array | undefined;

/** A stack that asks, and one with name servers at 10.0.0.1:53 and 10.0.0.1:54. */
async function world(first: Reply, second: Reply = () => undefined) {
  const runtime = new VirtualRuntime({ seed: 1 });
  const net = new Network(runtime);
  const nameservers = ['10.0.0.1', '10.0.0.1:54'];
  const here = new Stack({ interfaces: [{ name: 'eth0', addresses: ['10.0.0.2/24'] }], nameservers });
  const there = new Stack({ interfaces: [{ name: 'eth0', addresses: ['10.0.0.1/24'] }] });
  net.app('here', here).app('there', there);
  await net.link('here.eth0 -> there.eth0').link('there.eth0 -> here.eth0').start();
  runtime.advance('1ms');
  const log: string[] = [];
  const ports = new Set<number>();
  const ids = new Set<number>();
  const serve = (port: number, reply: Reply) => {
    let asked = 0;
    const socket: UdpSocket = there.udp({
      port,
      onMessage(bytes, from) {
        const query = decode(Buffer.from(bytes));
        const question = query.questions![0]!;
        log.push(`${Math.round(runtime.now() / 1e6)} ${port} ${question.type} ${question.name}`);
        ports.add(from.port);
        ids.add(query.id!);
        const answer = reply(query, from, asked++);
        if (answer) socket.send(answer instanceof Uint8Array ? answer : encode(answer), from);
      },
    });
  };
  serve(53, first);
  serve(54, second);
  const resolve = async (name: string, options = {}) => {
    let result: unknown;
    void here.resolve(name, options).then(
      (found) => {
        result = found;
      },
      (error) => {
        result = `${error.code} ${error.errno}`;
      },
    );
    for (let i = 0; i < 60 && result === undefined; i++) {
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
      runtime.advance('1s');
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    }
    return result;
  };
  return { resolve, log, ports, ids, net, runtime, here, there, [Symbol.asyncDispose]: () => net.close() };
}

const answer = (query: Packet, answers: Answer[], flags = 0): Packet => ({
  type: 'response',
  id: query.id!,
  flags,
  questions: query.questions!,
  answers,
});
const a = (name: string, data: string): Answer => ({ type: 'A', name, data, ttl: 60 });
const aaaa = (name: string, data: string): Answer => ({ type: 'AAAA', name, data, ttl: 60 });
const both: Reply = (query) =>
  answer(
    query,
    query.questions![0]!.type === 'A' ? [a('host.test', '10.0.0.9')] : [aaaa('host.test', '2001:db8::9')],
  );

describe('resolve', () => {
  it('asks for both families, and puts first what a route leads to', async () => {
    await using at = await world(both);
    expect(await at.resolve('host.test')).toEqual(['10.0.0.9', '2001:db8::9']);
    expect(at.log.sort()).toEqual(['1 53 A host.test', '1 53 AAAA host.test']);
    expect(await at.resolve('HOST.test.', { family: 6 })).toEqual(['2001:db8::9']);
  });

  it('follows aliases, and takes nothing that was not asked for', async () => {
    await using at = await world((query) =>
      answer(query, [
        { type: 'CNAME', name: 'www.test', data: 'web.test', ttl: 1 },
        { type: 'CNAME', name: 'web.test', data: 'host.test', ttl: 1 },
        a('other.test', '10.6.6.6'),
        a('host.test', '10.0.0.9'),
      ]),
    );
    expect(await at.resolve('www.test', { family: 4 })).toEqual(['10.0.0.9']);
  });

  it('tries servers in turn, waits twice as long each round, and says that nobody answered', async () => {
    await using at = await world(() => undefined);
    expect(await at.resolve('host.test', { family: 4 })).toBe('ERR_RESOLVE ETIMEOUT');
    const times = at.log.map((line) => line.split(' ').slice(0, 2).join(':'));
    expect(times).toEqual(['1:53', '2001:54', '4001:53', '8001:54', '12001:53', '20001:54']);
    // Another port and number each time.
    expect([at.ports.size, at.ids.size]).toEqual([6, 6]);
  });

  it.each<[string, Reply]>([
    ['fails', (query) => answer(query, [], 2)],
    ['refuses', (query) => answer(query, [], 5)],
  ])('asks the next server at once when one %s', async (_, reply) => {
    await using at = await world(reply, both);
    expect(await at.resolve('host.test', { family: 4 })).toEqual(['10.0.0.9']);
    expect(at.log.map((line) => line.slice(0, 4))).toEqual(['1 53', '1 54']);
  });

  it('asks the next server at once when nobody listens at one', async () => {
    await using at = await world(both);
    const servers = ['10.0.0.1:99', '10.0.0.1'];
    expect(await at.resolve('host.test', { family: 4, servers })).toEqual(['10.0.0.9']);
    expect(at.runtime.now()).toBeLessThan(1.1e9);
  });

  it.each<[string, Reply, string]>([
    ['there is no such name', (query) => answer(query, [], 3), 'ENOTFOUND'],
    ['it has no addresses', (query) => answer(query, []), 'ENODATA'],
    ['the answer is too long', (query) => answer(query, [], 1 << 9), 'EBADRESP'],
  ])('says that %s', async (_, reply, errno) => {
    await using at = await world(reply);
    expect(await at.resolve('host.test')).toBe(`ERR_RESOLVE ${errno}`);
  });

  describe('over TCP, where the answer is longer than a datagram', () => {
    const cut: Reply = (query) => answer(query, [], 1 << 9);
    const many = Array.from({ length: 60 }, (_, i) => `2001:db8::${(i + 1).toString(16)}`);
    const long = (query: Packet) =>
      answer(
        query,
        many.map((data) => aaaa('host.test', data)),
      );

    /** What a server at a TCP port sends for a question, piece by piece. */
    function serveTcp(
      at: Awaited<ReturnType<typeof world>>,
      port: number,
      pieces: (query: Packet, length: number) => (Uint8Array | 'end' | 'reset')[],
    ): { questions: number } {
      const seen = { questions: 0 };
      at.there.listen({ port }, (connection) => ({
        onEnd: () => connection.end(),
        onReadable: () => {
          const bytes = new Uint8Array(connection.readable);
          connection.read(bytes);
          seen.questions++;
          const query = decode(Buffer.from(bytes.subarray(2)));
          let wait = 1e6;
          for (const piece of pieces(query, (bytes[0]! << 8) | bytes[1]!)) {
            at.runtime.timer(at.runtime.now() + wait, () => {
              if (piece === 'end') connection.end();
              else if (piece === 'reset') connection.reset();
              else connection.write(piece);
            });
            wait += 1e6;
          }
        },
      }));
      return seen;
    }
    const framed = (packet: Packet): Uint8Array => {
      const bytes = encode(packet);
      return Uint8Array.from([bytes.length >> 8, bytes.length & 255, ...bytes]);
    };
    const options = { family: 6 as const, servers: ['10.0.0.1'] };

    it.each([1, 2, 3, 700])('gets all of it, in pieces of which the first has %i bytes', async (first) => {
      await using at = await world(cut);
      const seen = serveTcp(at, 53, (query) => {
        const bytes = framed(long(query));
        return [bytes.slice(0, first), bytes.slice(first)];
      });
      expect(await at.resolve('host.test', options)).toEqual(many);
      expect(seen.questions).toBe(1);
      expect(at.log).toHaveLength(1);
      // Nothing is left of it once the server has ended its side, too.
      at.runtime.advance('1s');
      expect(at.here.tcp).toMatchObject({ opened: 1, connections: 0 });
    });

    it.each<[string, (query: Packet) => (Uint8Array | 'end' | 'reset')[]]>([
      ['ends at once', () => ['end']],
      ['ends in the middle', (query) => [framed(long(query)).slice(0, 500), 'end']],
      ['breaks off', (query) => [framed(long(query)).slice(0, 500), 'reset']],
      ['sends nothing, at length', () => [Uint8Array.of(0, 0)]],
      ['answers something else', (query) => [framed({ ...long(query), id: (query.id! + 1) & 0xffff })]],
      ['cuts that, too', (query) => [framed(answer(query, [], 1 << 9))]],
      ['is silent', () => []],
    ])('asks the next server when one %s', async (_, pieces) => {
      await using at = await world(cut, both);
      const seen = serveTcp(at, 53, pieces);
      expect(await at.resolve('host.test', { family: 6 })).toEqual(['2001:db8::9']);
      expect(seen.questions).toBe(1);
      await using alone = await world(cut);
      serveTcp(alone, 53, pieces);
      expect(await alone.resolve('host.test', options)).toBe('ERR_RESOLVE EBADRESP');
    });

    it('ends with the stack', async () => {
      const at = await world(cut);
      serveTcp(at, 53, () => []);
      const asked = expect(at.here.resolve('host.test', options)).rejects.toMatchObject({
        errno: 'ECANCELLED',
      });
      at.runtime.advance('10ms');
      await at.net.close();
      await asked;
    });
  });

  it('does not believe who guesses', async () => {
    const wrong: ((query: Packet) => Packet | Uint8Array)[] = [
      (query) => ({ ...answer(query, [a('host.test', '10.6.6.6')]), id: (query.id! + 1) & 0xffff }),
      (query) => ({
        ...answer(query, [a('host.test', '10.6.6.6')]),
        questions: [{ type: 'A', name: 'other.test' }],
      }),
      (query) => ({ ...answer(query, [a('host.test', '10.6.6.6')]), type: 'query' }),
      (query) => ({ ...answer(query, [a('host.test', '10.6.6.6')]), questions: [] }),
      () => new Uint8Array(0),
      () => new Uint8Array(11).fill(0xff),
      (query) => encode(answer(query, [a('host.test', '10.6.6.6')])).subarray(0, 40),
    ];
    for (const reply of wrong) {
      await using at = await world((query, _, asked) =>
        asked === 0 ? reply(query) : answer(query, [a('host.test', '10.0.0.9')]),
      );
      expect(await at.resolve('host.test', { family: 4 })).toEqual(['10.0.0.9']);
    }
  });

  it('takes mutated answers without harm', async () => {
    let random = 1;
    const next = (bound: number) => {
      random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff;
      return random % bound;
    };
    await using at = await world((query) => {
      const bytes = encode(answer(query, [a('host.test', '10.0.0.9')]));
      for (let i = 0; i < 3; i++) bytes[next(bytes.length)] = next(256);
      return bytes;
    });
    for (let i = 0; i < 300; i++) {
      const result = await at.resolve('host.test', { family: 4, rounds: 1, timeout: 1e8 });
      expect(typeof result === 'string' ? result : 'addresses').toMatch(/^(ERR_RESOLVE|addresses)/);
    }
  });

  it.each(['', 'a..b', '-a', 'a b', 'x'.repeat(64), `${'a.'.repeat(127)}b`, 'müller.test'])(
    'refuses the name %j',
    async (name) => {
      await using at = await world(both);
      expect(await at.resolve(name)).toBe('ERR_RESOLVE undefined');
      expect(at.log).toEqual([]);
    },
  );

  it('knows addresses and localhost without asking', async () => {
    await using at = await world(both);
    expect(await at.resolve('10.1.2.3')).toEqual(['10.1.2.3']);
    expect(await at.resolve('localhost')).toEqual(['::1', '127.0.0.1']);
    expect(at.log).toEqual([]);
  });
});
