/** DHCP clients of simulated hosts on one segment, where a server gives addresses that others have. */
import { describe, expect, it } from 'vitest';
import { type SimHost, Simulation, type Topology } from '../../src/sim/index.ts';
import { dhcp, type Neighbours } from '../../src/stack/index.ts';

const [DISCOVER, OFFER, REQUEST, DECLINE, ACK, RELEASE] = [1, 2, 3, 4, 5, 7];
const STATIONS = ['server', 'other', 'one', 'two'];

const LAN = (): Topology => ({
  hosts: Object.fromEntries(STATIONS.map((name) => [name, {}])),
  switches: { sw: null },
  links: {
    server: { between: ['server 10.0.0.1/24', 'sw'], impair: 'delay 1ms' },
    other: { between: ['other 10.0.0.50/24', 'sw'], impair: 'delay 1ms' },
    one: { between: ['one fd00::1/64', 'sw'], impair: 'delay 1ms' },
    two: { between: ['two fd00::2/64', 'sw'], impair: 'delay 1ms' },
  },
});

/** A server of 10.0.0.50 and so on that remembers only what was declined: two who ask get the same. */
function server(heard: string[]) {
  return (host: SimHost) => {
    let next = 50;
    const socket = host.stack.udp({
      port: 67,
      interface: 'eth0',
      broadcast: true,
      onMessage(bytes, from) {
        const kind = bytes[242]!;
        const seconds = (host.runtime.now() / 1e9).toFixed(0);
        if (kind === DECLINE) {
          const at = bytes.indexOf(50, 252);
          heard.push(`${seconds} ${from.address} declines ${bytes.subarray(at + 2, at + 6).join('.')}`);
          next++;
        }
        if (kind === RELEASE) heard.push(`${seconds} ${from.address} gives back`);
        if (kind !== DISCOVER && kind !== REQUEST) return;
        const answer = new Uint8Array(300);
        answer.set(bytes.subarray(0, 240));
        answer[0] = 2;
        answer.set([10, 0, 0, next], 16);
        const options = [53, 1, kind === DISCOVER ? OFFER : ACK, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 255, 0];
        answer.set([...options, 51, 4, 0, 0, 16, 0, 255], 240);
        socket.send(answer, '255.255.255.255:68');
      },
    });
  };
}

const neighboursOf = (host: SimHost) => host.network.get<Neighbours>('neighbours0');

/** What ends the clients that ran last. */
const stops = new Map<string, () => void>();

/** A program that leases; `log` gets what happens to it. */
function leases(log: string[]) {
  return (host: SimHost) => {
    const say = (text: string) => log.push(`${(host.runtime.now() / 1e9).toFixed(0)} ${text}`);
    const { stop } = dhcp(host.stack, neighboursOf(host), {
      onLease: (lease) => say(lease?.address ?? 'none'),
      onDecline: (address) => say(`not ${address}`),
    });
    stops.set(host.name, stop);
  };
}

async function lan(clients: ('one' | 'two')[], seed = 1) {
  const heard: string[] = [];
  const logs = { one: [] as string[], two: [] as string[] };
  const programs = Object.fromEntries(clients.map((name) => [name, leases(logs[name])]));
  const sim = await Simulation.start(
    { ...LAN(), seed },
    { programs: { server: server(heard), ...programs } },
  );
  return { sim, heard, logs };
}

const times = (log: string[]) => log.map((line) => Number.parseInt(line, 10));
const texts = (log: string[]) => log.map((line) => line.replace(/^\d+ /, ''));

describe('a DHCP client on a segment', () => {
  it('declines an address that another host has, takes the next, and the other keeps its own', async () => {
    const { sim, heard, logs } = await lan(['one']);
    await using _ = sim;
    await sim.run('30s');
    expect(texts(heard)).toEqual(['0.0.0.0 declines 10.0.0.50']);
    expect(texts(logs.one)).toEqual(['not 10.0.0.50', '10.0.0.51/24']);
    const [declined, leased] = times(logs.one) as [number, number];
    expect(declined).toBeLessThanOrEqual(2);
    // Ten seconds of peace, and 4 to 7 of probes.
    expect(leased - declined).toBeGreaterThanOrEqual(13);
    expect(leased - declined).toBeLessThanOrEqual(18);
    expect(neighboursOf(sim.host('other')).report()).toMatchObject({ conflicts: 0 });
    const pinged = sim.host('one').stack.ping('10.0.0.50', { timeout: 5e8 });
    await sim.run('1s');
    expect((await pinged).result).toBe('reply');
  });

  it.each([1, 2, 3, 4, 5])(
    'never has what another client has, whatever the server gives (seed %i)',
    async (seed) => {
      const { sim, heard, logs } = await lan(['one', 'two'], seed);
      await using _ = sim;
      // Apart by less than the probes take: both probe the same.
      await sim.run('120s');
      const [one, two] = [logs.one.at(-1)!, logs.two.at(-1)!].map((line) => line.replace(/^\d+ /, ''));
      expect(one).toMatch(/^10\.0\.0\.\d+\/24$/);
      expect(two).toMatch(/^10\.0\.0\.\d+\/24$/);
      expect(two).not.toBe(one);
      expect([...logs.one, ...logs.two].some((line) => line.endsWith(' 10.0.0.50/24'))).toBe(false);
      for (const name of ['one', 'two'])
        expect(neighboursOf(sim.host(name)).report()).toMatchObject({ conflicts: 0 });
      expect(heard.length).toBeGreaterThanOrEqual(2);
    },
  );

  it('gives its address up to a host that keeps to it, and takes another', async () => {
    const { sim, heard, logs } = await lan(['one']);
    await using _ = sim;
    await sim.run('30s');
    // Somebody gives the other host the address by hand: it announces that, and does not yield.
    const other = sim.host('other');
    other.stack.setAddresses('eth0', ['10.0.0.51/24']);
    neighboursOf(other).setAddresses(['10.0.0.51/24']);
    await sim.run('30s');
    expect(texts(heard)).toEqual(['0.0.0.0 declines 10.0.0.50', '0.0.0.0 declines 10.0.0.51']);
    expect(texts(logs.one).slice(1)).toEqual(['10.0.0.51/24', 'none', 'not 10.0.0.51', '10.0.0.52/24']);
    expect(neighboursOf(sim.host('one')).report()).toMatchObject({ conflicts: 2 });
  });

  it('has its address no more when it was stopped, and all that it had before', async () => {
    const { sim, heard } = await lan(['one']);
    await using _ = sim;
    await sim.run('30s');
    const { stack } = sim.host('one');
    stops.get('one')!();
    await sim.run('1s');
    expect(texts(heard).at(-1)).toBe('10.0.0.51 gives back');
    expect(stack.interfaces[0]!.addresses.map(({ address }) => address.family)).toEqual([6]);
    const pinged = sim.host('other').stack.ping('10.0.0.51', { timeout: 5e8 });
    await sim.run('5s');
    expect((await pinged).result).not.toBe('reply');
  });

  it('keeps its address where the other yields, each time', async () => {
    const { sim, heard, logs } = await lan(['one']);
    await using _ = sim;
    await sim.run('30s');
    const other = neighboursOf(sim.host('other'));
    for (let n = 0; n < 4; n++) {
      other.setAddresses(['10.0.0.51/24']);
      await sim.run('1ms');
      other.setAddresses(['10.0.0.50/24']);
      await sim.run('11s');
    }
    expect(neighboursOf(sim.host('one')).report()).toMatchObject({ conflicts: 4 });
    expect(heard.length).toBe(1);
    expect(texts(logs.one).at(-1)).toBe('10.0.0.51/24');
  });
});
