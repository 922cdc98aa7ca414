import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { bytes, text } from './outside-worlds.ts';

type Step =
  | { do: 'append'; file: string; length: number }
  | { do: 'sync'; file: string }
  | { do: 'remove'; file: string }
  | { do: 'replace'; file: string; length: number }
  | { do: 'truncate'; file: string; length: number }
  | { do: 'wait'; time: number };

const file = fc.constantFrom('a', 'b');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('append' as const), file, length: fc.nat(40) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('sync' as const), file }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.nat(2_500_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('replace' as const), file, length: fc.nat(60) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('truncate' as const), file, length: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), file }) },
);

/** What a file may be after a crash: its head, whole, and then anything of what was appended, torn or zeros in its place. */
interface Allowed {
  /** Undefined: there need not be a file. */
  head: string | undefined;
  /** Undefined: nothing was appended. */
  tail: string | undefined;
  /** A sync makes it so, and not something that gives the file another content. */
  bySync: boolean;
}

const isAllowed = (found: string | undefined, { head, tail }: Allowed): boolean => {
  if (found === undefined) return head === undefined;
  if (head === undefined && tail === undefined) return false;
  const start = head ?? '';
  if (!found.startsWith(start)) return false;
  const rest = found.slice(start.length);
  if (rest.length > (tail ?? '').length) return false;
  // No byte of what is appended is zero.
  const torn = rest.replace(/\0+$/, '');
  return (tail ?? '').startsWith(torn);
};

describe('a crash in virtual time', () => {
  it('leaves what was synced, and of what was replaced the old or the new, whole', () => {
    let torn = 0;
    let zeros = 0;
    let kept = 0;
    let lost = 0;
    const property = fc.property(
      fc.array(step, { maxLength: 30 }),
      fc.integer({ min: 0, max: 2 ** 31 }),
      (steps, seed) => {
        const runtime = new VirtualRuntime({ seed, disk: { syncTime: '1ms', jitter: '500us' } });
        const storage = runtime.storage('s');
        // Every state that a crash may leave from now on; the first is what it leaves if nothing under way has happened.
        const states = new Map<string, Allowed[]>();
        const of = (name: string) => {
          let found = states.get(name);
          if (!found) states.set(name, (found = [{ head: undefined, tail: undefined, bySync: false }]));
          return found;
        };
        const last = (name: string) => of(name).at(-1)!;
        let letter = 0;
        const fill = (length: number) => String.fromCharCode(97 + (letter++ % 26)).repeat(length);
        for (const each of steps) {
          if (each.do === 'wait') {
            runtime.advance(each.time);
            continue;
          }
          const { file: name } = each;
          /** From now on `next` may be there; when it is done, nothing before it. */
          const become = (next: Allowed) => {
            of(name).push(next);
            return (error?: Error) => {
              const list = of(name);
              if (error) list.splice(list.indexOf(next), 1);
              else list.splice(0, list.indexOf(next));
            };
          };
          const { head, tail } = last(name);
          const exists = head !== undefined || tail !== undefined;
          const whole = (head ?? '') + (tail ?? '');
          if (each.do === 'append') {
            const added = fill(each.length);
            // Also behind a sync that is under way: it may all reach the disk with it, or before it.
            for (let i = of(name).length - 1; i >= 0; i--) {
              const state = of(name)[i];
              state.tail = (state.tail ?? '') + added;
              if (!state.bySync) break;
            }
            storage.append(name, bytes(added));
          } else if (each.do === 'sync') {
            const synced = exists ? whole : undefined;
            storage.sync(name, become({ head: synced, tail: undefined, bySync: true }));
          } else if (each.do === 'replace') {
            const content = fill(each.length);
            const next = { head: content, tail: undefined, bySync: false };
            storage.replace(name, bytes(content), become(next));
          } else if (each.do === 'remove') {
            storage.remove(name, become({ head: undefined, tail: undefined, bySync: false }));
          } else if (each.do === 'truncate' && exists && each.length <= whole.length) {
            const next = { head: whole.slice(0, each.length), tail: undefined, bySync: false };
            storage.truncate(name, each.length, become(next));
          }
        }
        runtime.disk.crash();
        const after = runtime.storage('s');
        let files: string[] = [];
        after.list((_error, names) => (files = names));
        runtime.advance('1ms');
        for (const name of ['a', 'b']) {
          let found: string | undefined;
          after.read(name, (_error, value) => (found = value && text(value)));
          runtime.advance('1ms');
          expect(files.includes(name)).toBe(found !== undefined);
          const allowed = of(name).map((state) => isAllowed(found, state));
          expect(allowed, `found ${JSON.stringify(found)}, allowed ${JSON.stringify(of(name))}`).toContain(
            true,
          );
          const { head, tail = '' } = of(name)[0];
          if (of(name).length === 1 && tail !== '' && head !== undefined) {
            const rest = found!.slice(head.length);
            if (rest.includes('\0')) zeros++;
            else if (rest === tail) kept++;
            else if (rest === '') lost++;
            else torn++;
          }
        }
      },
    );
    fc.assert(property, { seed: 4, numRuns: 2000 });
    // The test means something only if all of these happen.
    for (const count of [torn, zeros, kept, lost]) expect(count).toBeGreaterThan(5);
  });

  it('is the same for the same seed', () => {
    const run = (seed: number) => {
      const runtime = new VirtualRuntime({ seed });
      const storage = runtime.storage('s');
      const found: string[] = [];
      for (let i = 0; i < 20; i++) storage.append(`f${i}`, bytes('some text that may be torn'));
      runtime.advance('1ms');
      runtime.disk.crash();
      for (let i = 0; i < 20; i++)
        runtime.storage('s').read(`f${i}`, (_e, value) => found.push(value ? text(value) : '-'));
      runtime.advance('1ms');
      return found;
    };
    expect(run(1)).toEqual(run(1));
    expect(new Set(run(1)).size).toBeGreaterThan(3);
    expect(run(2)).not.toEqual(run(1));
  });

  it('ends the storages of the dead program: they do nothing and call back nobody', () => {
    const runtime = new VirtualRuntime();
    const before = runtime.storage('s');
    const other = runtime.storage('t');
    const calls: string[] = [];
    before.append('f', bytes('x'));
    before.sync('f', () => calls.push('sync'));
    other.append('f', bytes('y'));
    other.sync('f', () => calls.push('other'));
    runtime.disk.crash('s');
    before.replace('f', bytes('never'), () => calls.push('replace'));
    before.list(() => calls.push('list'));
    runtime.advance('1s');
    expect(calls).toEqual(['other']);
    expect(runtime.storage('t')).toBe(other);
    expect(runtime.storage('s')).not.toBe(before);
    runtime.storage('s').read('f', (_error, value) => calls.push(text(value ?? bytes('-'))));
    runtime.advance('1s');
    expect(calls[1]).not.toBe('never');
  });
});

describe('a virtual disk', () => {
  function fresh(disk?: ConstructorParameters<typeof VirtualRuntime>[0]) {
    const runtime = new VirtualRuntime(disk);
    const storage = runtime.storage('s');
    const log: string[] = [];
    const note = (what: string) => (error?: { errno?: string }) =>
      log.push(`${what} ${error?.errno ?? 'ok'} ${runtime.now() / 1e6}`);
    const read = (name: string) => {
      let found: string | undefined;
      storage.read(name, (_error, value) => (found = value && text(value)));
      runtime.advance('10ms');
      return found;
    };
    return { runtime, storage, log, note, read };
  }

  it('takes the time that it is told, and one sync for all that wait', () => {
    const { runtime, storage, log, note } = fresh({ disk: { syncTime: '4ms', writeTime: '1ms' } });
    storage.append('f', bytes('a'));
    storage.sync('f', note('first'));
    storage.append('f', bytes('b'));
    storage.sync('f', note('second'));
    storage.replace('g', bytes('b'), note('replace'));
    storage.remove('h', note('remove'));
    runtime.advance('1s');
    expect(log).toEqual(['remove ok 4', 'first ok 5', 'second ok 5', 'replace ok 8']);
  });

  it('fails what it is told to, once, and puts the file back to the last good sync', () => {
    const { runtime, storage, log, note, read } = fresh();
    storage.append('f', bytes('good '));
    storage.sync('f', note('1'));
    runtime.advance('10ms');
    runtime.disk.failNext({ operation: 'sync', file: 'f' });
    storage.append('f', bytes('gone '));
    storage.sync('f', note('2'));
    runtime.advance(500_000);
    // Asked for while the sync that will fail is under way.
    storage.append('f', bytes('gone too '));
    storage.sync('f', note('3'));
    storage.append('g', bytes('elsewhere'));
    storage.sync('g', note('g'));
    runtime.advance('10ms');
    storage.append('f', bytes('after'));
    storage.sync('f', note('4'));
    runtime.advance('10ms');
    expect(log.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      '1 ok',
      '2 EIO',
      '3 EIO',
      'g ok',
      '4 ok',
    ]);
    expect(read('f')).toBe('good after');
    expect(read('g')).toBe('elsewhere');
  });

  it('remembers an append that failed until a sync asks', () => {
    const { runtime, storage, log, note, read } = fresh();
    runtime.disk.failNext({ operation: 'append', errno: 'ENOSPC' });
    storage.append('f', bytes('lost'));
    runtime.advance('10ms');
    storage.append('f', bytes('lost too'));
    runtime.advance('10ms');
    expect(read('f')).toBe('');
    storage.sync('f', note('told'));
    runtime.advance('10ms');
    storage.append('f', bytes('well'));
    storage.sync('f', note('next'));
    runtime.advance('10ms');
    expect(log.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual(['told ENOSPC', 'next ok']);
    expect(read('f')).toBe('well');
  });

  it('is full when it is: nothing that was there is touched, and it goes on when there is room', () => {
    const { runtime, storage, log, note, read } = fresh({ disk: { capacity: 100 } });
    storage.append('f', new Uint8Array(60).fill(0x61));
    storage.sync('f', note('fits'));
    runtime.advance('10ms');
    storage.append('f', new Uint8Array(60));
    storage.sync('f', note('full'));
    runtime.advance('10ms');
    storage.replace('f', new Uint8Array(41), note('replace'));
    runtime.advance('10ms');
    expect(read('f')).toBe('a'.repeat(60));
    storage.replace('f', new Uint8Array(40), note('smaller'));
    runtime.advance('10ms');
    expect(runtime.disk.used).toBe(40);
    runtime.disk.configure({ capacity: 1000 });
    storage.append('f', new Uint8Array(60));
    storage.sync('f', note('room'));
    runtime.advance('10ms');
    expect(log.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      'fits ok',
      'full ENOSPC',
      'replace ENOSPC',
      'smaller ok',
      'room ok',
    ]);
  });

  it('fails each operation with the error that was asked for', () => {
    const { runtime, storage, log, note } = fresh();
    for (const operation of ['read', 'replace', 'truncate', 'remove', 'list'] as const) {
      runtime.disk.failNext({ operation, storage: 's', errno: 'EACCES' });
    }
    runtime.disk.failNext({ operation: 'read', storage: 'another' });
    storage.append('f', bytes('x'));
    storage.read('f', note('read'));
    storage.replace('f', bytes('y'), note('replace'));
    storage.truncate('f', 0, note('truncate'));
    storage.remove('f', note('remove'));
    storage.list(note('list'));
    storage.read('f', (_error, value) => log.push(`still ${text(value!)}`));
    runtime.advance('1s');
    expect(log.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      'read EACCES',
      'replace EACCES',
      'truncate EACCES',
      'remove EACCES',
      'list EACCES',
      'still x',
    ]);
  });
});
