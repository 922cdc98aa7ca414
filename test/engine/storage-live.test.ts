import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LiveRuntime } from '../../src/engine/live-runtime.ts';
import type { Storage, StorageDone } from '../../src/engine/outside.ts';
import type { TunconnectorError } from '../../src/errors.ts';
import { needs } from '../needs.ts';
import { bytes, text } from './outside-worlds.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'storage-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const told = (start: (done: StorageDone) => void) =>
  new Promise<TunconnectorError | undefined>((resolve) => start(resolve));
const contents = (storage: Storage, file: string) =>
  new Promise<string | undefined>((resolve, reject) =>
    storage.read(file, (error, value) => (error ? reject(error) : resolve(value && text(value)))),
  );

describe('live storage', () => {
  it('is a folder of plain files for their owner alone, and is there again for the next runtime', async () => {
    const first = new LiveRuntime({ storage: path.join(folder, 'x', 'y') }).storage('log');
    first.append('wal', bytes('kept'));
    expect(await told((done) => first.sync('wal', done))).toBeUndefined();
    const file = path.join(folder, 'x', 'y', 'log', 'wal');
    expect(readFileSync(file, 'utf8')).toBe('kept');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(path.dirname(file)).mode & 0o777).toBe(0o700);
    const second = new LiveRuntime({ storage: path.join(folder, 'x', 'y') }).storage('log');
    second.append('wal', bytes(' and more'));
    expect(await contents(second, 'wal')).toBe('kept and more');
  });

  it('wants a folder', () => {
    expect(() => new LiveRuntime().storage('log')).toThrow(expect.objectContaining({ code: 'ERR_CONFIG' }));
  });

  it('clears what a crash has left half replaced, and lists only what is its own', async () => {
    mkdirSync(path.join(folder, 'log', 'subfolder'), { recursive: true });
    writeFileSync(path.join(folder, 'log', '.state.tmp'), 'half');
    writeFileSync(path.join(folder, 'log', 'state'), 'whole');
    const storage = new LiveRuntime({ storage: folder }).storage('log');
    const files = await new Promise((resolve) => storage.list((_error, names) => resolve(names)));
    expect(files).toEqual(['state']);
    expect(await contents(storage, 'state')).toBe('whole');
    expect(existsSync(path.join(folder, 'log', '.state.tmp'))).toBe(false);
    expect(await told((done) => storage.replace('state', bytes('new'), done))).toBeUndefined();
    expect(readdirSync(path.join(folder, 'log')).sort()).toEqual(['state', 'subfolder']);
  });

  it('follows no symbolic link out of its folder', async () => {
    const secret = path.join(folder, 'secret');
    writeFileSync(secret, 'secret');
    mkdirSync(path.join(folder, 'log'));
    symlinkSync(secret, path.join(folder, 'log', 'link'));
    symlinkSync(folder, path.join(folder, 'linked'));
    const runtime = new LiveRuntime({ storage: folder });
    const storage = runtime.storage('log');
    await expect(contents(storage, 'link')).rejects.toMatchObject({ code: 'ERR_STORAGE', errno: 'ELOOP' });
    storage.append('link', bytes('x'));
    expect(await told((done) => storage.sync('link', done))).toMatchObject({ errno: 'ELOOP' });
    expect(await told((done) => storage.truncate('link', 0, done))).toMatchObject({ errno: 'ELOOP' });
    // Replacing and removing concern the link itself.
    expect(await told((done) => storage.replace('link', bytes('mine'), done))).toBeUndefined();
    expect(readFileSync(secret, 'utf8')).toBe('secret');
    await expect(contents(runtime.storage('linked'), 'secret')).rejects.toMatchObject({
      code: 'ERR_STORAGE',
    });
  });

  it('tells what is in the way of its folder, and works when that is gone', async () => {
    writeFileSync(path.join(folder, 'log'), 'a file');
    const storage = new LiveRuntime({ storage: folder }).storage('log');
    storage.append('f', bytes('x'));
    expect(await told((done) => storage.sync('f', done))).toMatchObject({ code: 'ERR_STORAGE' });
    rmSync(path.join(folder, 'log'));
    storage.append('f', bytes('y'));
    expect(await told((done) => storage.sync('f', done))).toBeUndefined();
    expect(await contents(storage, 'f')).toBe('y');
  });

  it('syncs for all that wait at once', async () => {
    const storage = new LiveRuntime({ storage: folder }).storage('log');
    const results: Promise<unknown>[] = [];
    for (let i = 0; i < 500; i++) {
      storage.append('wal', bytes(`${i}\n`));
      results.push(told((done) => storage.sync('wal', done)));
    }
    expect(new Set(await Promise.all(results))).toEqual(new Set([undefined]));
    const expected = Array.from({ length: 500 }, (_, i) => `${i}\n`).join('');
    expect(await contents(storage, 'wal')).toBe(expected);
  });
});

describe.skipIf(needs('userns'))('live storage on a full disk', () => {
  let holder: ChildProcess;
  let disk: string;

  /** A file system of 64 KiB that only this process and a child see, and that goes with the child. */
  beforeEach(async () => {
    const script = `mount -t tmpfs -o size=64k none '${folder}' && echo mounted && cat`;
    holder = spawn('unshare', ['--user', '--map-root-user', '--mount', 'sh', '-c', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((resolve, reject) => {
      holder.stdout!.once('data', resolve);
      holder.once('exit', () => reject(new Error('the file system could not be mounted')));
    });
    disk = `/proc/${holder.pid}/root${folder}`;
  });
  afterEach(async () => {
    const gone = new Promise((resolve) => holder.once('exit', resolve));
    holder.stdin!.end();
    await gone;
  });

  it('tells it, leaves whole what was synced, and goes on when there is room', async () => {
    const storage = new LiveRuntime({ storage: disk }).storage('log');
    storage.append('wal', bytes('synced '));
    expect(await told((done) => storage.sync('wal', done))).toBeUndefined();
    expect(await told((done) => storage.replace('state', bytes('old'), done))).toBeUndefined();

    storage.append('wal', bytes('whole record, '));
    // More than fits: the kernel writes a part of it.
    storage.append('wal', new Uint8Array(100_000).fill(0x78));
    const full = await told((done) => storage.sync('wal', done));
    expect(full).toMatchObject({ code: 'ERR_STORAGE', errno: 'ENOSPC' });
    expect(full?.message).toContain('free some space');
    expect(await contents(storage, 'wal')).toBe('synced ');

    const replaced = await told((done) => storage.replace('state', new Uint8Array(100_000), done));
    expect(replaced).toMatchObject({ code: 'ERR_STORAGE', errno: 'ENOSPC' });
    expect(await contents(storage, 'state')).toBe('old');
    expect(readdirSync(path.join(disk, 'log')).sort()).toEqual(['state', 'wal']);

    storage.append('wal', bytes('more'));
    expect(await told((done) => storage.sync('wal', done))).toBeUndefined();
    expect(await contents(storage, 'wal')).toBe('synced more');
  });

  it('remembers it for the sync that asks later', async () => {
    const storage = new LiveRuntime({ storage: disk }).storage('log');
    storage.append('wal', new Uint8Array(100_000));
    expect(await contents(storage, 'wal')).toBe('');
    storage.append('wal', bytes('on top of nothing'));
    expect(await contents(storage, 'wal')).toBe('');
    expect(await told((done) => storage.sync('wal', done))).toMatchObject({ errno: 'ENOSPC' });
  });
});
