import { describe, expect, it } from 'vitest';
import { type App, defineApp } from '../../src/engine/app.ts';
import { memoryWith } from '../../src/engine/between.ts';
import { poolFor } from '../../src/engine/memory-plan.ts';
import { udp } from '../../src/tun/udp.ts';
import { checkTunnelOptions, type TunnelOptions } from '../../src/tunnel/connector/options.ts';
import { networkOf } from '../../src/tunnel/connector/shape.ts';
import { TunConnector } from '../../src/tunnel/connector/tunconnector.ts';

const holder = defineApp({
  module: import.meta.url,
  export: 'holder',
  check: (options: { packets: number; superframes: number }) => options,
  create: (limits): App => ({ limits }),
});

function linksOf(options: Partial<TunnelOptions>): string[] {
  const checked = checkTunnelOptions({ client: { remote: '10.1.1.1' }, ...options });
  const about = { mtu: 1472, maxDatagram: 1472, outer: '10.1.1.1:55555' };
  return networkOf({ side: 'client', options: checked, ...about }, udp({})).links;
}

const app = holder({ packets: 1, superframes: 1 });

describe('apps between interface and tunnel', () => {
  it('get what goes into the tunnel, and what comes out of it', () => {
    expect(linksOf({ between: { up: app, down: app } })).toEqual([
      'tun.out -> up.in',
      'up.out -> tunnel.inside',
      'tunnel.inside -> down.in',
      'down.out -> tun.in',
      'udp.out -> tunnel.outside',
      'tunnel.outside -> udp.in',
    ]);
  });

  it('may have links from one to the other', () => {
    const links = ['up.back -> down.answers'];
    expect(linksOf({ between: { up: app, down: app, links } })).toContain(links[0]);
  });

  it('may be there in one direction alone, or not at all', () => {
    const [up, out, down] = linksOf({ between: { up: app } });
    expect([up, out, down]).toEqual([
      'tun.out -> up.in',
      'up.out -> tunnel.inside',
      'tunnel.inside -> tun.in',
    ]);
    expect(linksOf({}).slice(0, 2)).toEqual(['tun.out -> tunnel.inside', 'tunnel.inside -> tun.in']);
  });

  it('are described by data', () => {
    const wrong = { up: { push() {} } } as never;
    expect(() => linksOf({ between: wrong })).toThrow(
      /^between\.up: found \{\}, expected an app described by data/,
    );
  });

  it.each([
    ['packets', { packets: 100_000, superframes: 0 }],
    ['superframes', { packets: 0, superframes: 2000 }],
  ] as const)('have memory for all the %s that they may hold', async (_what, limits) => {
    const usual = poolFor(64 << 20);
    const more = poolFor(await memoryWith({ up: holder(limits), down: holder(limits) }, 64 << 20));
    expect(more.smallSlots - usual.smallSlots).toBeGreaterThanOrEqual(2 * limits.packets);
    expect(more.largeSlots - usual.largeSlots).toBeGreaterThanOrEqual(2 * limits.superframes);
    expect(await memoryWith({}, 64 << 20)).toBe(64 << 20);
  });

  it('never make more memory than there can be: what does not fit then is told with its arithmetic', async () => {
    const memory = await memoryWith({ up: holder({ packets: 1e9, superframes: 0 }) }, 64 << 20);
    expect(memory).toBe(2 ** 31 - 1);
  });
});

describe('a tunnel that was closed', () => {
  it('does not start any more', async () => {
    const tunnel = new TunConnector({ client: { remote: '10.1.1.1' } });
    await tunnel.close();
    await expect(tunnel.start()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });
});
