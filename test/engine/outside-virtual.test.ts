import { describe, expect, it } from 'vitest';
import type { Channel } from '../../src/engine/outside.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { bytes, text } from './outside-worlds.ts';

const FAULTS = { delay: '5ms', jitter: '2ms', loss: 0.2, duplicate: 0.1, reorder: 0.2 };

/** One socket that sends `count` datagrams, a millisecond apart, to another that writes them down. */
function stream(runtime: VirtualRuntime, count: number, spacing = 1_000_000) {
  const arrived: { n: number; at: number; sentAt: number }[] = [];
  const receiver = runtime.datagrams('10.0.0.2:1', {
    onMessage: (_, m) => {
      const n = new DataView(m.buffer, m.byteOffset).getUint32(0);
      arrived.push({ n, at: runtime.now(), sentAt: n * spacing });
    },
  });
  const sender = runtime.datagrams('10.0.0.1:1', { onMessage() {} });
  for (let n = 0; n < count; n++) {
    runtime.timer(n * spacing, () => {
      const message = new Uint8Array(4);
      new DataView(message.buffer).setUint32(0, n);
      sender.send(receiver.address, message);
    });
  }
  return { arrived, sender, receiver };
}

/** A busy world: three hosts, datagrams and channels, cuts and breaks. Everything that happens, in a list. */
function history(seed: number): string[] {
  const runtime = new VirtualRuntime({ seed, outside: FAULTS });
  const log: string[] = [];
  const note = (what: string) => log.push(`${runtime.now()} ${what}`);
  const hosts = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
  const sockets = hosts.map((host) =>
    runtime.datagrams(`${host}:7`, { onMessage: (from, m) => note(`${host} < ${from} ${text(m)}`) }),
  );
  for (const host of hosts) {
    runtime.listen(`${host}:8`, {
      onChannel: (channel) => ({
        onMessage(m) {
          note(`${host} channel ${text(m)}`);
          channel.send(m);
        },
        onClose: (error) => note(`${host} lost ${channel.peer} ${error?.errno}`),
      }),
    });
  }
  const channels: Channel[] = [];
  hosts.forEach((host, i) => {
    const to = `${hosts[(i + 1) % 3]}:8`;
    const handlers = {
      onOpen: () => note(`${host} open`),
      onMessage: (m: Uint8Array) => note(`${host} echo ${text(m)}`),
      onClose: (e?: { errno?: string }) => note(`${host} closed ${e?.errno}`),
    };
    channels.push(runtime.connect(to, handlers, { bind: `${host}:0` }));
  });
  for (let i = 0; i < 200; i++) {
    runtime.timer(i * 1_000_000, () => {
      sockets[i % 3].send(`${hosts[(i + 1 + (i >> 3)) % 3]}:7`, bytes(`m${i}`));
      channels[i % 3].send(bytes(`c${i}`));
    });
  }
  runtime.timer(50_000_000, () => {
    const heal = runtime.outside.partition('10.0.0.1', '*');
    runtime.timer(90_000_000, heal);
  });
  runtime.timer(150_000_000, () => runtime.outside.breakChannels((client) => client.startsWith('10.0.0.2')));
  runtime.advance('1s');
  return log;
}

describe('the virtual outside', () => {
  it('has the same history for the same seed, and another for another', () => {
    const first = history(11);
    expect(first.length).toBeGreaterThan(400);
    expect(history(11)).toEqual(first);
    expect(history(12)).not.toEqual(first);
  });

  it('delays by what it is told, in order unless told to reorder', () => {
    const runtime = new VirtualRuntime({ outside: { delay: '5ms', jitter: '3ms' } });
    const { arrived } = stream(runtime, 500);
    runtime.advance('1s');
    expect(arrived.map(({ n }) => n)).toEqual(Array.from({ length: 500 }, (_, n) => n));
    const delays = arrived.map(({ at, sentAt }) => at - sentAt);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(5_000_000);
    expect(Math.max(...delays)).toBeLessThanOrEqual(8_000_000);
    expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(2_000_000);
  });

  it('loses, doubles and reorders as often as it is told', () => {
    const count = 4000;
    // Four standard deviations of a binomial count.
    const near = (p: number) => [count * p - 4 * Math.sqrt(count * p), count * p + 4 * Math.sqrt(count * p)];
    const run = (outside: object) => {
      const runtime = new VirtualRuntime({ seed: 3, outside });
      const { arrived } = stream(runtime, count, 100_000);
      runtime.advance('2s');
      return arrived.map(({ n }) => n);
    };
    const lost = count - run({ loss: 0.1 }).length;
    expect(lost).toBeGreaterThan(near(0.1)[0]);
    expect(lost).toBeLessThan(near(0.1)[1]);
    const doubled = run({ duplicate: 0.1 }).length - count;
    expect(doubled).toBeGreaterThan(near(0.1)[0]);
    expect(doubled).toBeLessThan(near(0.1)[1]);
    const reordered = run({ reorder: 0.1 });
    expect(reordered.length).toBe(count);
    const overtaken = reordered.filter(
      (n, i) => i > 0 && n < Math.max(...reordered.slice(Math.max(0, i - 50), i)),
    );
    // Held back for up to 1 ms, with one each 0.1 ms: nine in ten are overtaken.
    expect(overtaken.length).toBeGreaterThan(0.8 * near(0.1)[0]);
    expect(overtaken.length).toBeLessThan(near(0.1)[1]);
    expect(run({ loss: 1 })).toEqual([]);
  });

  it('loses the same datagrams when another fault is added', () => {
    const run = (outside: object) => {
      const runtime = new VirtualRuntime({ seed: 3, outside });
      const { arrived } = stream(runtime, 300);
      runtime.advance('2s');
      return [...new Set(arrived.map(({ n }) => n))].sort((a, b) => a - b);
    };
    expect(run({ loss: 0.3, duplicate: 0.5, reorder: 0.5 })).toEqual(run({ loss: 0.3 }));
  });

  it('keeps apart what a cut parts, in the direction that is cut, until it heals', () => {
    const runtime = new VirtualRuntime();
    const got: string[] = [];
    const socket = (host: string) =>
      runtime.datagrams(`${host}:1`, { onMessage: (from, m) => got.push(`${from} > ${host} ${text(m)}`) });
    const [a, b, c] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(socket);
    const sendAll = (what: string) => {
      for (const from of [a, b, c])
        for (const to of [a, b, c]) if (from !== to) from.send(to.address, bytes(what));
      runtime.advance('1ms');
      return got.splice(0).length;
    };
    expect(sendAll('whole')).toBe(6);
    const heal = runtime.outside.partition('10.0.0.1', ['10.0.0.2', '10.0.0.3']);
    const healOneWay = runtime.outside.cut('10.0.0.2', '10.0.0.3');
    expect(sendAll('parted')).toBe(1);
    heal();
    expect(sendAll('one way')).toBe(5);
    healOneWay();
    expect(sendAll('healed')).toBe(6);
    // What is on its way when the cut comes is lost.
    a.send(b.address, bytes('late'));
    runtime.outside.partition('*', '*');
    runtime.advance('1ms');
    expect(got).toEqual([]);
    a.send(a.address, bytes('myself'));
    runtime.advance('1ms');
    expect(got).toEqual(['10.0.0.1:1 > 10.0.0.1 myself']);
  });

  function channelPair(runtime: VirtualRuntime) {
    const log: string[] = [];
    const at = () => `${runtime.now() / 1e6}ms`;
    const handlers = (who: string) => ({
      onOpen: () => log.push(`${who} open ${at()}`),
      onMessage: (m: Uint8Array) => log.push(`${who} ${text(m)} ${at()}`),
      onClose: (e?: { errno?: string }) => log.push(`${who} ended ${e?.errno} ${at()}`),
    });
    let server!: Channel;
    runtime.listen('10.0.0.2:1', {
      onChannel(channel) {
        server = channel;
        return handlers('server');
      },
    });
    runtime.advance(0);
    const client = runtime.connect('10.0.0.2:1', handlers('client'), { bind: '10.0.0.1:0' });
    return { log, client, server: () => server };
  }

  it('opens a channel in one round trip, and holds its messages through a cut', () => {
    const runtime = new VirtualRuntime({ outside: { delay: '5ms' } });
    const { log, client, server } = channelPair(runtime);
    client.send(bytes('first'));
    runtime.advance('20ms');
    expect(log.splice(0)).toEqual(['client open 10ms', 'server first 15ms']);
    const heal = runtime.outside.partition('10.0.0.1', '10.0.0.2');
    client.send(bytes('held'));
    client.send(bytes('too'));
    server().send(bytes('back'));
    runtime.advance('10s');
    expect(log).toEqual([]);
    heal();
    runtime.advance('10ms');
    expect(log.map((line) => line.replace(/ [\d.]+ms/, '')).sort()).toEqual([
      'client back',
      'server held',
      'server too',
    ]);
    // A cut that has healed is forgotten.
    runtime.advance('30s');
    expect(log.length).toBe(3);
  });

  it('breaks a channel at both ends when a cut outlasts its patience, and opens none across', () => {
    const runtime = new VirtualRuntime({ outside: { patience: '3s' } });
    const { log, client } = channelPair(runtime);
    runtime.advance('10ms');
    log.length = 0;
    runtime.outside.cut('10.0.0.2', '10.0.0.1');
    runtime.advance('2990ms');
    expect(log).toEqual([]);
    runtime.advance('1s');
    expect(log).toEqual(['client ended ETIMEDOUT 3010ms', 'server ended ETIMEDOUT 3010ms']);
    expect(client.send(bytes('x'))).toBe(false);
    const errors: string[] = [];
    runtime.connect(
      '10.0.0.2:1',
      { onMessage() {}, onClose: (e) => errors.push(`${e?.errno} ${runtime.now() / 1e6}`) },
      { bind: '10.0.0.1:0', timeout: 2_000_000_000 },
    );
    runtime.advance('10s');
    expect(errors).toEqual(['ETIMEDOUT 6000']);
  });

  it('lets a connection through that is still wanted when the cut heals', () => {
    const runtime = new VirtualRuntime();
    const heal = runtime.outside.partition('10.0.0.1', '10.0.0.2');
    const { log, client } = channelPair(runtime);
    client.send(bytes('patient'));
    runtime.advance('5s');
    expect(log).toEqual([]);
    heal();
    runtime.advance('2s');
    expect(log.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      'client open',
      'server patient',
    ]);
  });

  it('breaks channels when told, with what was on its way', () => {
    const runtime = new VirtualRuntime();
    const { log, client } = channelPair(runtime);
    runtime.advance('1ms');
    log.length = 0;
    client.send(bytes('lost'));
    expect(runtime.outside.breakChannels((_, server) => server === '10.9.9.9:1')).toBe(0);
    expect(
      runtime.outside.breakChannels((from, to) => from.startsWith('10.0.0.1:') && to === '10.0.0.2:1'),
    ).toBe(1);
    expect(log).toEqual([]);
    runtime.advance('1ms');
    expect(log).toEqual(['client ended ECONNRESET 1ms', 'server ended ECONNRESET 1ms']);
    expect(runtime.outside.breakChannels()).toBe(0);
  });

  it('gives up bringing over what was sent before close after 5 s', () => {
    const runtime = new VirtualRuntime();
    const { log, client, server } = channelPair(runtime);
    runtime.advance('1ms');
    server().pause();
    client.send(bytes('unread'));
    client.close();
    runtime.advance('10s');
    expect(log.at(-1)).toBe('server ended ECONNRESET 5001ms');
    expect(runtime.outside.breakChannels()).toBe(0);
  });

  it('says so when messages answer each other without time passing', () => {
    const runtime = new VirtualRuntime({ outside: { delay: 0 } });
    const a = runtime.datagrams('10.0.0.1:1', { onMessage: (from, m) => a.send(from, m) });
    a.send(a.address, bytes('again'));
    expect(() => runtime.advance('1ms')).toThrow(expect.objectContaining({ code: 'ERR_LOOP' }));
  });

  it('refuses faults that cannot be', () => {
    for (const outside of [
      { loss: 2 },
      { loss: -0.1 },
      { duplicate: Number.NaN },
      { reorder: 1.01 },
      { delay: '5' },
    ]) {
      expect(() => new VirtualRuntime({ outside })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG' }));
    }
  });

  it('knows who holds a port as Linux does', () => {
    const runtime = new VirtualRuntime();
    const handlers = { onMessage() {} };
    runtime.datagrams('10.0.0.1:5', handlers);
    runtime.datagrams('10.0.0.2:5', handlers);
    runtime.datagrams('[::1]:5', handlers);
    for (const taken of ['10.0.0.1:5', '0.0.0.0:5', '[::]:5']) {
      expect(() => runtime.datagrams(taken, handlers)).toThrow(/is taken/);
    }
    runtime.datagrams('0.0.0.0:6', handlers);
    runtime.datagrams('[::1]:6', handlers);
    expect(() => runtime.datagrams('10.0.0.1:6', handlers)).toThrow(/is taken/);
    const free = new Set(
      Array.from({ length: 100 }, () => runtime.datagrams('10.0.0.1:0', handlers).address),
    );
    expect(free.size).toBe(100);
  });
});
