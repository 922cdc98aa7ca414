import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { liveRuntime, Network } from '../../src/engine/index.ts';
import { native } from '../../src/native/load.ts';
import { testUdpOffloads, type UdpLoop } from '../../src/tun/udp-self-test.ts';

const real: UdpLoop = native().udpLoop;

/** A kernel with a fault: `spoil` sees every segmented trip that arrived. */
function faulty(
  spoil: (received: Uint8Array, sizes: Int32Array, n: number, gro: boolean) => number,
): UdpLoop {
  return (family, payload, segment, gro, received, sizes) => {
    const n = real(family, payload, segment, gro, received, sizes);
    return segment === 0 || n < 0 ? n : spoil(received, sizes, n, gro);
  };
}

describe('the self-test of the UDP offloads', () => {
  test('passes on this kernel, for both offloads', () => {
    expect(testUdpOffloads()).toEqual({ gso: 'passed', gro: 'passed' });
  });

  test('leaves no descriptor open', () => {
    const before = readdirSync('/proc/self/fd').length;
    testUdpOffloads();
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });

  test('finds one wrong byte, a short last datagram that is lost, and one that is longer than it was', () => {
    const wrongByte = faulty((received, sizes, n) => {
      received[sizes[0]!]! ^= 1;
      return n;
    });
    const lostTail = faulty((_received, sizes, n) => (sizes[n - 1]! < sizes[0]! ? n - 1 : n));
    const longTail = faulty((_received, sizes, n) => {
      if (sizes[n - 1]! < sizes[0]!) sizes[n - 1]! += 1;
      return n;
    });
    for (const kernel of [wrongByte, lostTail, longTail]) {
      expect(testUdpOffloads(kernel)).toMatchObject({ gso: 'failed' });
    }
  });

  test('a fault in receiving alone is not laid on sending', () => {
    const kernel = faulty((_received, sizes, n, gro) => {
      if (gro) sizes[n - 1]! -= 1;
      return n;
    });
    expect(testUdpOffloads(kernel)).toEqual({ gso: 'passed', gro: 'failed' });
  });

  test('a kernel without the offloads is no kernel with a fault', () => {
    const { errno } = constants;
    const noGso: UdpLoop = (...trip) => (trip[2] > 0 ? -errno.EINVAL : real(...trip));
    expect(testUdpOffloads(noGso)).toEqual({ gso: 'absent', gro: 'untested' });
    const deaf: UdpLoop = (family, payload, _segment, ...rest) => real(family, payload, 0, ...rest);
    expect(testUdpOffloads(deaf)).toEqual({ gso: 'absent', gro: 'untested' });
    const noGro: UdpLoop = (...trip) => (trip[3] ? -errno.ENOPROTOOPT : real(...trip));
    expect(testUdpOffloads(noGro)).toEqual({ gso: 'passed', gro: 'absent' });
  });

  test('where not even a plain datagram arrives, nothing is learned', () => {
    const silent: UdpLoop = () => 0;
    const down: UdpLoop = () => -constants.errno.ENETUNREACH;
    expect(testUdpOffloads(silent)).toEqual({ gso: 'untested', gro: 'untested' });
    expect(testUdpOffloads(down)).toEqual({ gso: 'untested', gro: 'untested' });
    const onlyIpv4: UdpLoop = (...trip) => (trip[0] === 6 ? -constants.errno.EADDRNOTAVAIL : real(...trip));
    expect(testUdpOffloads(onlyIpv4)).toEqual({ gso: 'passed', gro: 'passed' });
  });
});

describe('a UDP port', () => {
  afterEach(() => vi.restoreAllMocks());

  async function portWith(loop: UdpLoop, options: { gso?: boolean; gro?: boolean } = {}) {
    vi.resetModules();
    const { udp } = await import('../../src/tun/udp.ts');
    const spy = vi.spyOn(native(), 'udpLoop').mockImplementation(loop);
    const events: object[] = [];
    const network = new Network(liveRuntime())
      .app('udp', udp({ bind: '127.0.0.1:0', ...options }))
      .link('udp.out -> udp.in');
    network.on('event', (_app, event) => events.push(event));
    await network.start();
    const { report } = network.report().apps[0]!;
    await network.close();
    return { report, events, tries: spy.mock.calls.length };
  }

  test('uses what passed, and says so', async () => {
    const { report, events } = await portWith(real);
    expect(report).toMatchObject({ gso: true, gro: true, selfTest: 'passed' });
    expect(events).toEqual([]);
  });

  test('leaves out what failed, and says which', async () => {
    const corrupts = faulty((received, _sizes, n) => {
      received[0]! ^= 1;
      return n;
    });
    const { report, events } = await portWith(corrupts);
    expect(report).toMatchObject({ gso: false, gro: true, selfTest: 'gso failed' });
    expect(events).toEqual([
      { type: 'offload-failed', selfTest: 'gso failed', subject: 'the UDP port 127.0.0.1:0' },
    ]);
  });

  test('tests nothing that nobody wants', async () => {
    const { report, tries } = await portWith(real, { gso: false, gro: false });
    expect(tries).toBe(0);
    expect(report).toMatchObject({ gso: false, gro: false, selfTest: 'not needed' });
  });
});
