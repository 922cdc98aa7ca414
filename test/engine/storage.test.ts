import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Storage } from '../../src/engine/outside.ts';
import type { TunconnectorError } from '../../src/errors.ts';
import { bytes, text, type World, worlds } from './outside-worlds.ts';

describe.each(worlds)('storage, %s', (_, makeWorld) => {
  let world: World;
  let storage: Storage;
  beforeEach(() => {
    world = makeWorld();
    storage = world.runtime.storage('registry');
  });
  afterEach(() => world.end());

  /** Waits for one callback. */
  async function outcome<T>(
    start: (done: (error?: TunconnectorError, value?: T) => void) => void,
  ): Promise<{ error: TunconnectorError | undefined; value: T | undefined }> {
    let result: { error: TunconnectorError | undefined; value: T | undefined } | undefined;
    start((error, value) => {
      if (result) throw new Error('called back twice');
      result = { error, value };
    });
    expect(result, 'called back from within the call').toBeUndefined();
    await world.until(() => result !== undefined);
    return result!;
  }
  const ok = async (start: (done: (error?: TunconnectorError) => void) => void) =>
    expect((await outcome(start)).error).toBeUndefined();
  const contents = async (file: string) => {
    const { error, value } = await outcome<Uint8Array>((done) => storage.read(file, done));
    expect(error).toBeUndefined();
    return value && text(value);
  };
  const list = async () => (await outcome<string[]>((done) => storage.list(done))).value;

  it('appends in order and reads it back, with or without a sync between', async () => {
    storage.append('log', bytes('one '));
    storage.append('log', bytes('two '));
    await ok((done) => storage.sync('log', done));
    storage.append('log', bytes('three'));
    expect(await contents('log')).toBe('one two three');
    expect(await list()).toEqual(['log']);
  });

  it('copies what is appended or replaced', async () => {
    const message = bytes('mine');
    storage.append('a', message);
    const replaced = outcome((done) => storage.replace('b', message, done));
    message.fill(0);
    await replaced;
    expect(await contents('a')).toBe('mine');
    expect(await contents('b')).toBe('mine');
  });

  it('has no file before something is put there, and reads it as undefined', async () => {
    expect(await contents('none')).toBeUndefined();
    await ok((done) => storage.sync('none', done));
    await ok((done) => storage.remove('none', done));
    expect(await list()).toEqual([]);
    storage.append('empty', new Uint8Array(0));
    expect(await contents('empty')).toBe('');
  });

  it('calls back in the order in which one file was asked, and does not wait for it', async () => {
    const order: string[] = [];
    const note = (what: string) => (error?: TunconnectorError) => order.push(error ? error.code : what);
    storage.append('f', bytes('a'));
    storage.sync('f', note('sync 1'));
    storage.append('f', bytes('b'));
    storage.sync('f', note('sync 2'));
    storage.read('f', (_error, value) => order.push(`read ${text(value!)}`));
    storage.replace('f', bytes('new'), note('replace'));
    storage.append('f', bytes('er'));
    storage.sync('f', note('sync 3'));
    storage.read('f', (_error, value) => order.push(`read ${text(value!)}`));
    storage.truncate('f', 4, note('truncate'));
    storage.read('f', (_error, value) => order.push(`read ${text(value!)}`));
    storage.remove('f', note('remove'));
    storage.read('f', (_error, value) => order.push(`read ${value}`));
    storage.list((_error, files) => order.push(`list ${files}`));
    expect(order).toEqual([]);
    await world.until(() => order.length === 11);
    expect(order).toEqual([
      'sync 1',
      'sync 2',
      'read ab',
      'replace',
      'sync 3',
      'read newer',
      'truncate',
      'read newe',
      'remove',
      'read undefined',
      'list ',
    ]);
  });

  it('lists what was asked for before, in order of name', async () => {
    const names = ['b', 'a.2', 'C', '_x', 'a-1'];
    for (const name of names) storage.append(name, bytes(name));
    expect(await list()).toEqual([...names].sort());
  });

  it('may be asked again from within a callback', async () => {
    let reread = '';
    storage.append('f', bytes('x'));
    storage.sync('f', () => {
      storage.append('f', bytes('y'));
      storage.sync('f', () => storage.read('f', (_error, value) => (reread = text(value!))));
    });
    await world.until(() => reread !== '');
    expect(reread).toBe('xy');
  });

  it('cuts no file that is shorter, or not there', async () => {
    storage.append('f', bytes('abc'));
    for (const [file, length] of [
      ['f', 4],
      ['f', -1],
      ['f', 1.5],
      ['g', 0],
    ] as const) {
      const { error } = await outcome((done) => storage.truncate(file, length, done));
      expect(error?.code).toBe('ERR_STORAGE');
    }
    expect(await contents('f')).toBe('abc');
    expect(await list()).toEqual(['f']);
  });

  it('refuses names that could lead elsewhere', () => {
    const bad = ['', '.', '..', '.hidden', 'a/b', '../a', 'a\0b', 'a b', 'ä', 'x'.repeat(101)];
    for (const name of bad) {
      const refusal = expect.objectContaining({ code: 'ERR_CONFIG' });
      expect(() => world.runtime.storage(name)).toThrow(refusal);
      expect(() => storage.append(name, bytes('x'))).toThrow(refusal);
      expect(() => storage.read(name, () => {})).toThrow(refusal);
      expect(() => storage.replace(name, bytes('x'), () => {})).toThrow(refusal);
      expect(() => storage.remove(name, () => {})).toThrow(refusal);
    }
  });

  it('keeps storages apart, and is the same for the same name', async () => {
    expect(world.runtime.storage('registry')).toBe(storage);
    storage.append('f', bytes('mine'));
    const other = world.runtime.storage('other');
    const { value } = await outcome<Uint8Array>((done) => other.read('f', done));
    expect(value).toBeUndefined();
    expect(await contents('f')).toBe('mine');
  });

  it('tells all syncs when more waits than may, and goes on after that', async () => {
    await ok((done) => {
      storage.append('f', bytes('kept'));
      storage.sync('f', done);
    });
    const results: (string | undefined)[] = [];
    const big = new Uint8Array(40 << 20);
    storage.append('f', big);
    storage.append('f', big);
    storage.append('f', big);
    storage.sync('f', (error) => results.push(error?.code));
    storage.append('f', bytes('lost'));
    storage.sync('f', (error) => results.push(error?.code));
    await world.until(() => results.length === 2);
    expect(results).toEqual(['ERR_STORAGE', 'ERR_STORAGE']);
    expect(await contents('f')).toBe('kept');
    storage.append('f', bytes(' more'));
    await ok((done) => storage.sync('f', done));
    expect(await contents('f')).toBe('kept more');
  });
});
