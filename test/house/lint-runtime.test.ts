import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { lintDirectory, lintSource } from '../../scripts/lint-runtime.mjs';

const findings = (text: string) => lintSource(text, 'a.ts');

describe('the runtime rule', () => {
  it.each([
    ['Date.now()', 'Date.now'],
    ["Date['now']()", 'Date.now'],
    ['globalThis.Date.now()', 'Date.now'],
    ['const { now } = Date;', 'Date.now'],
    ['new Date()', 'new Date()'],
    ['Date()', 'Date()'],
    ['performance.now()', 'performance'],
    ['globalThis.performance.now()', 'performance'],
    ['process.hrtime.bigint()', 'process.hrtime'],
    ['process.nextTick(() => 1)', 'process.nextTick'],
    ['Math.random()', 'Math.random'],
    ['const draw = Math.random;', 'Math.random'],
    ['crypto.getRandomValues(new Uint8Array(4))', 'crypto.getRandomValues'],
    ['setTimeout(() => 1, 5)', 'setTimeout'],
    ['const timers = { setInterval };', 'setInterval'],
    ['globalThis.setImmediate(() => 1)', 'setImmediate'],
    ['queueMicrotask(() => 1)', 'queueMicrotask'],
    ['AbortSignal.timeout(3)', 'AbortSignal.timeout'],
    ["await fetch('http://x')", 'fetch'],
    ["import fs from 'node:fs';", 'node:fs'],
    ["import { readFile } from 'fs/promises';", 'fs/promises'],
    ["import { type Socket, connect } from 'node:net';", 'node:net'],
    ["import 'node:dgram';", 'node:dgram'],
    ["export { spawn } from 'node:child_process';", 'node:child_process'],
    ["const timers = await import('node:timers');", 'node:timers'],
    ["const http = require('http');", 'http'],
    ["import { randomBytes } from 'node:crypto';", 'randomBytes'],
  ])('finds %s', (text, what) => {
    const found = findings(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(what);
  });

  it.each([
    ['// Date.now() and setTimeout\n"Math.random()";'],
    ['runtime.setTimeout(() => 1, 5); runtime.now();'],
    ['new Date(milliseconds).toISOString()'],
    ['interface Clock { setTimeout(): void; performance: number }'],
    ['const options = { fetch: 1 }; options.fetch;'],
    ['class A { setTimeout() {} }'],
    ["import type { Socket } from 'node:net';"],
    ["import { type Socket } from 'node:net';"],
    ["import { createHmac } from 'node:crypto';"],
    ['let signal: typeof setTimeout;'],
  ])('leaves %s alone', (text) => {
    expect(findings(text)).toEqual([]);
  });

  it('says where, what and what to use instead', () => {
    expect(findings('const a = 1;\n  Math.random();')).toEqual([
      'a.ts:2:3: Math.random outside of the live runtime; draw from a random stream of the runtime',
    ]);
  });

  it('exempts the files of the live runtime, the commands and the test kit, and no others', () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-lint-'));
    try {
      const files = [
        'engine/live-runtime.ts',
        'tun/live-udp.ts',
        'tun/system/live-ip.ts',
        'chain/roulette/remote/live-connection.ts',
        'native/load.ts',
        'cli/a/b.ts',
        'testing/x.ts',
      ];
      const caught = [
        'engine/link.ts',
        'engine/deep/er/live-x.ts',
        'packet/live-ip.ts',
        'packet/ip.ts',
        'native/binding.ts',
      ];
      for (const file of [...files, ...caught]) {
        mkdirSync(path.dirname(path.join(directory, file)), { recursive: true });
        writeFileSync(path.join(directory, file), 'Date.now();\n');
      }
      const found = lintDirectory(directory);
      expect(found).toHaveLength(caught.length);
      for (const file of caught) expect(found.join('\n')).toContain(`${file}:1:1: Date.now`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it('holds in src', () => {
    expect(lintDirectory('src')).toEqual([]);
  }, 120_000);
});
