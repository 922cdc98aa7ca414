import { describe, expect, it } from 'vitest';
import { tee } from '../../src/engine/basic.ts';
import { diffConfig, formatConfig, parseConfig } from '../../src/engine/config-text.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { udp } from '../../src/tun/udp.ts';

const config = () => ({
  apps: { tee: tee({}), out: udp({ bind: '127.0.0.1:9', gso: false }) },
  links: ['out.out->tee.in', 'tee.a -> out.in'],
});

describe('a network as text', () => {
  it('is the same text for the same network, and reads back as what it was', () => {
    const { apps, links } = config();
    const text = formatConfig({ apps, links });
    const turned = { apps: { out: apps.out, tee: apps.tee }, links: [...links].reverse() };
    expect(formatConfig(turned)).toBe(text);
    expect(formatConfig(parseConfig(text))).toBe(text);
    expect(parseConfig(text).apps.out).toEqual({ ...udp({ bind: '127.0.0.1:9', gso: false }) });
  });

  it('names an instance by its class', () => {
    expect(formatConfig({ apps: { port: new MemoryPort() }, links: [] })).toContain(
      'port: instance of MemoryPort',
    );
  });

  it('shows what a change changes', () => {
    const before = config();
    const after = {
      apps: { ...before.apps, out: udp({ bind: '127.0.0.1:10' }) },
      links: ['out.out -> tee.in'],
    };
    expect(diffConfig(before, before)).toEqual([]);
    const diff = diffConfig(before, after);
    expect(diff).toHaveLength(3);
    expect(diff[0]).toMatch(/^- out:[\s\S]*127\.0\.0\.1:9/);
    expect(diff.find((line) => line.startsWith('+'))).toMatch(/127\.0\.0\.1:10/);
    expect(diff).toContain('- tee.a -> out.in');
  });

  it('is refused with file, place, what was found and what was expected', () => {
    expect(() => parseConfig('apps: [', 'net.yaml')).toThrow(/net\.yaml:1:\d+: /);
    expect(() => parseConfig('apps: {}\nlink: []', 'net.yaml')).toThrow(
      /net\.yaml: found the unknown key "link", expected one of apps, links/,
    );
    expect(() => parseConfig('apps: {}\nlinks: [a -> b]', 'net.yaml')).toThrow(
      /found "a -> b", expected "app.output/,
    );
    expect(() => parseConfig('apps: { x: { module: 5, export: y } }', 'net.yaml')).toThrow(
      /net\.yaml: apps\.x\.module: found 5, .*expected string/,
    );
  });
});
