import { describe, expect, it } from 'vitest';
import { withMemory } from '../../src/cli/shell/memory.ts';
import { resolverBehind } from '../../src/cli/shell/names.ts';
import { freePlaces } from '../../src/cli/shell/place.ts';
import { splitTraces } from '../../src/cli/shell/shell.ts';
import { compileSpec } from '../../src/impair/spec/spec.ts';
import type { Route } from '../../src/tun/system/live-ip.ts';

const route = (prefix: string, device: string): Route => ({
  prefix,
  device,
  via: undefined,
  metric: 0,
  source: undefined,
  type: 'unicast',
  protocol: 'kernel',
  table: 'main',
  dead: false,
});

const first = (routes: Route[], families: (4 | 6)[] = [4]) => freePlaces(routes, families).next().value!;

describe('the place of a link', () => {
  it('is the first /30 of the shared address space where no route is', () => {
    const place = first([route('0.0.0.0/0', 'eth0'), route('10.0.0.0/8', 'eth0')]);
    expect(place).toMatchObject({ name: 'shell0', prefixes: ['100.64.0.0/30'], gateways: ['100.64.0.1'] });
    expect(place.outer.addresses).toEqual(['100.64.0.1/30']);
    expect(place.inner.addresses).toEqual(['100.64.0.2/30']);
  });

  it('is another one than that of a link around it', () => {
    expect(first([route('100.64.0.0/30', 'shell0')]).name).toBe('shell1');
    expect(first([route('100.64.0.4/30', 'shell1')]).name).toBe('shell0');
    expect(first([route('fd74:756e:636f::/64', 'shell0')], [4, 6]).name).toBe('shell1');
  });

  it('is elsewhere on a host that uses the shared address space for other things', () => {
    expect(first([route('100.101.102.103/32', 'tailscale0')]).gateways).toEqual(['198.18.0.1']);
    // Routes over several devices, and those that refuse, have none.
    const several = { ...route('100.64.0.0/10', ''), device: undefined };
    expect(first([several]).gateways).toEqual(['198.18.0.1']);
  });

  it('has a /64 of its own with IPv6', () => {
    const place = first([route('100.64.0.0/30', 'shell0')], [4, 6]);
    expect(place.prefixes).toEqual(['100.64.0.4/30', 'fd74:756e:636f:1::/64']);
    expect(place.gateways).toEqual(['100.64.0.5', 'fd74:756e:636f:1::1']);
  });
});

describe('name servers behind a link', () => {
  it('stay as they are where they are reached through it', () => {
    expect(resolverBehind('nameserver 9.9.9.9\nnameserver 10.0.0.1\n', '100.64.0.1', [4])).toBeUndefined();
  });

  it('are relayed where they are loopback addresses, and only those', () => {
    const text =
      'search a.example\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 9.9.9.9\noptions edns0\n';
    expect(resolverBehind(text, '100.64.0.1', [4])).toEqual({
      text: 'search a.example\nnameserver 100.64.0.1\nnameserver 9.9.9.9\noptions edns0\n',
      relayed: ['127.0.0.53', '::1'],
    });
  });

  it('are relayed where the link has not their family, or they have a zone', () => {
    const relayed = (server: string, families: (4 | 6)[]) =>
      resolverBehind(`nameserver ${server}\n`, '100.64.0.1', families)?.relayed;
    expect(relayed('2001:db8::53', [4])).toEqual(['2001:db8::53']);
    expect(relayed('2001:db8::53', [4, 6])).toBeUndefined();
    expect(relayed('fe80::1%eth0', [4, 6])).toEqual(['fe80::1%eth0']);
  });

  it('are the loopback address where none is named', () => {
    expect(resolverBehind('options rotate\n', '100.64.0.1', [4])).toEqual({
      text: 'nameserver 100.64.0.1\noptions rotate\n',
      relayed: ['127.0.0.1'],
    });
  });
});

describe('the memory of a link', () => {
  it('holds 10 ms at 10 Gbit/s in superframes of 16 KiB', () => {
    const { spec, memory } = withMemory(compileSpec('delay 10ms'));
    expect(spec.up.superframes! * 16_384).toBeGreaterThanOrEqual((10e9 / 8) * 0.01);
    expect(memory).toBeLessThan(512 << 20);
  });

  it('is that of the options for a slow link, whatever its delay', () => {
    const { spec, memory } = withMemory(compileSpec('delay 100ms rate 5mbit'));
    expect(spec.down).toMatchObject({ packets: 8192, superframes: 256 });
    expect(memory).toBe(128 << 20);
  });

  it('is what the spec says where it says it', () => {
    const { spec } = withMemory(compileSpec({ both: 'delay 10ms', packets: 1000, superframes: 20 }));
    expect(spec.up).toMatchObject({ packets: 1000, superframes: 20 });
  });
});

describe('--trace UP DOWN', () => {
  it('is one file for each way where two stand before the command', () => {
    expect(splitTraces('--trace a b --delay 1ms -- x'.split(' '))).toEqual(
      '--up-trace a --down-trace b --delay 1ms -- x'.split(' '),
    );
  });

  it('is one file for both ways otherwise', () => {
    for (const line of [
      '--trace a -- x',
      '--trace a --delay 1ms -- x',
      '--trace a ping x',
      '-- x --trace a b',
    ]) {
      expect(splitTraces(line.split(' '))).toEqual(line.split(' '));
    }
  });
});
