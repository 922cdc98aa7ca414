import { describe, expect, it } from 'vitest';
import type { Stream } from '../../../src/chain/roulette/watch/feed.ts';
import type { FeedMessage } from '../../../src/chain/roulette/watch/messages.ts';
import { Mirror, type MirrorOptions } from '../../../src/chain/roulette/watch/mirror.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { TENANT, World } from './roulette-world.ts';

/** A mirror and its connection, by hand. */
class Watcher {
  readonly world: World;
  readonly mirror: Mirror;
  /** Messages on their way. */
  readonly wire: FeedMessage[] = [];
  room = Number.POSITIVE_INFINITY;
  ended: string | undefined;
  renewals = 0;
  #stream!: Stream;

  constructor(world: World, options: MirrorOptions = {}, tenant = TENANT) {
    this.world = world;
    this.mirror = new Mirror(tenant, world.runtime.now(), options);
    this.connect(tenant);
  }

  connect(tenant = TENANT): void {
    if (this.#stream) this.world.roulette.endWatch(this.#stream);
    this.wire.length = 0;
    this.ended = undefined;
    const hello = JSON.parse(JSON.stringify(this.mirror.hello(this.world.runtime.now())));
    this.#stream = this.world.roulette.watch(tenant, hello, {
      send: (message) => {
        if (this.wire.length >= this.room) return false;
        this.wire.push(JSON.parse(JSON.stringify(message)));
        return true;
      },
      onEnd: (reason) => {
        this.ended = reason;
      },
    });
  }

  /** Takes what is on its way, and connects anew when it has to. */
  read(): void {
    for (let message = this.wire.shift(); message; message = this.wire.shift()) {
      if (this.mirror.receive(message, this.world.runtime.now()) === 'fine') continue;
      this.renewals++;
      this.connect();
    }
    this.#stream.resume();
    if (this.wire.length > 0) this.read();
  }

  drop(count = 1): void {
    this.wire.splice(0, count);
  }

  /** That it knows all that Roulette knows of the tenant. */
  expectCurrent(tenant = TENANT): void {
    const all = (view = this.mirror.view) =>
      (['tenant', 'function', 'chain', 'replica', 'lease', 'classifier', 'flow', 'suspect'] as const).map(
        (kind) => [...view.all(kind)].map(([name, { text }]) => `${name} ${text}`).sort(),
      );
    expect(all()).toEqual(all(this.world.roulette.view(tenant)));
  }
}

function served(options = {}): World {
  const world = new World(options);
  world.set({ fw: [1, 2], dpi: [11] });
  world.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
  return world;
}

describe('a mirror', () => {
  it('knows chains by revision, ready replicas, addresses and rules', () => {
    const world = served();
    world.ask('classifier.put', { rules: [{ name: 'all', match: { protocol: 6 }, chain: 7 }] });
    world.ask('replica.state', { id: 2, state: 'draining' });
    const watcher = new Watcher(world);
    watcher.read();
    watcher.expectCurrent();
    const { view } = watcher.mirror;
    expect(view.chainRevision(7)?.functions).toEqual(['fw', 'dpi']);
    expect(view.readyReplicas('fw').map(({ id }) => id)).toEqual([1]);
    expect(view.replica(2)).toMatchObject({ address: '127.0.0.1', port: 10_002 });
    expect(view.classifier?.rules[0]).toEqual({ name: 'all', match: { protocol: 6 }, chain: 7 });
    world.ask('chain.put', { spi: 7, functions: ['dpi'] });
    watcher.read();
    expect(view.chainRevision(7)?.functions).toEqual(['dpi']);
    expect(view.chainRevision(7, 1)?.functions).toEqual(['fw', 'dpi']);
  });

  it('is told what has changed', () => {
    const world = served();
    const told: string[] = [];
    const watcher = new Watcher(world, { onChange: (kind, name) => told.push(`${kind} ${name}`) });
    watcher.read();
    expect(told).toEqual(['undefined undefined']);
    world.register(1, 1);
    world.ask('replica.remove', { id: 1 });
    watcher.read();
    expect(told.slice(1)).toContain('replica 1');
    expect(told.slice(1)).toContain('flow 0000000000000001');
  });

  it('sees only its tenant, and only what it asks for', () => {
    const world = served();
    world.set({ nat: [1] }, 43);
    const other = new Watcher(world, {}, 43);
    const some = new Watcher(world, { kinds: ['replica', 'chain'] });
    world.register(1, 3);
    world.runtime.advance(2 * SECOND);
    for (const watcher of [other, some]) watcher.read();
    other.expectCurrent(43);
    expect([...other.mirror.view.all('function').keys()]).toEqual(['nat']);
    expect(some.mirror.view.all('flow').size).toBe(0);
    expect(some.mirror.view.all('function').size).toBe(0);
    expect(some.mirror.view.all('replica').size).toBe(3);
    expect(some.mirror.rev).toBe(world.roulette.rev);
    expect(some.renewals).toBe(0);
  });

  it('loses none of 1000 events that it was away for', () => {
    const world = served();
    const watcher = new Watcher(world);
    watcher.read();
    const before = watcher.mirror.rev;
    watcher.drop(watcher.wire.length);
    for (let i = 0; i < 1000; i++) world.ask('replica.state', { id: 1, state: i % 2 ? 'ready' : 'draining' });
    watcher.connect();
    watcher.read();
    expect(watcher.mirror.rev - before).toBe(1000);
    expect(watcher.mirror.counters).toMatchObject({ snapshots: 1, gaps: 0, events: 1000 });
    watcher.expectCurrent();
  });

  it('gets a snapshot when what it missed is no longer kept', () => {
    const world = served({ history: 10 });
    const watcher = new Watcher(world);
    watcher.read();
    for (let i = 0; i < 11; i++) world.register(i, i);
    watcher.connect();
    watcher.read();
    expect(watcher.mirror.counters).toMatchObject({ snapshots: 2, gaps: 0 });
    watcher.expectCurrent();
  });

  it('notices a message that is lost, also when nothing comes after it, and asks for the rest', () => {
    const world = served();
    const watcher = new Watcher(world);
    watcher.read();
    world.register(1, 1);
    watcher.drop();
    world.register(2, 2);
    watcher.read();
    expect(watcher.mirror.counters.gaps).toBe(1);
    watcher.expectCurrent();
    world.register(3, 3);
    watcher.drop();
    world.runtime.advance(SECOND);
    watcher.read();
    expect(watcher.mirror.counters).toMatchObject({ gaps: 2, snapshots: 1 });
    watcher.expectCurrent();
  });

  it('takes a connection for dead after 3 s without a word', () => {
    const world = served();
    const watcher = new Watcher(world);
    watcher.read();
    const silent = () => watcher.mirror.isSilent(world.runtime.now());
    for (let i = 0; i < 5; i++) {
      world.runtime.advance(SECOND);
      watcher.read();
      expect(silent()).toBe(false);
    }
    const heard = world.runtime.now();
    world.runtime.runTo(heard + 3 * SECOND - 1);
    expect(silent()).toBe(false);
    world.runtime.runTo(heard + 3 * SECOND);
    expect(silent()).toBe(true);
    watcher.read();
    expect(silent()).toBe(false);
  });

  it('keeps what it knows while Roulette is gone, and goes on where it was when it comes back', () => {
    const world = served();
    const watcher = new Watcher(world);
    world.register(1, 50);
    watcher.read();
    const known = watcher.mirror.view;
    world.roulette.close();
    expect(watcher.ended).toBe('reset');
    world.runtime.disk.crash();
    world.runtime.advance(60 * SECOND);
    expect(known.readyReplicas('fw')).toHaveLength(2);
    world.start();
    watcher.connect();
    watcher.read();
    expect(watcher.mirror.counters.snapshots).toBe(1);
    expect(watcher.mirror.view).toBe(known);
    watcher.expectCurrent();
  });

  it('gets a snapshot of another store, though that has the same revision', () => {
    const world = served();
    const watcher = new Watcher(world);
    watcher.read();
    const other = served();
    expect(other.roulette.rev).toBe(world.roulette.rev);
    const [hello] = [watcher.mirror.hello(0)];
    const sent: FeedMessage[] = [];
    const sink = { send: (message: FeedMessage) => sent.push(message) > 0, onEnd: () => {} };
    other.roulette.watch(TENANT, { ...hello, from: { ...hello.from!, store: 'another' } }, sink);
    expect(sent[0]).toMatchObject({ t: 'snap', part: 0 });
  });

  it('takes nothing that cannot be, and then fetches everything anew', () => {
    const world = served();
    world.ask('replica.remove', { id: 2 });
    const nonsense: unknown[] = [
      'hello',
      { t: 'ev', rev: -1, prev: 0, ops: [] },
      { t: 'boo' },
      { t: 'ev', rev: 1e6, prev: 0, ops: [{ op: 'put', key: '42/replica/2', val: '{' }] },
      { t: 'ev', rev: 1e6, prev: 0, ops: [{ op: 'put', key: '43/replica/2', val: '{}' }] },
      { t: 'ev', rev: 1e6, prev: 0, ops: [{ op: 'put', key: '42/replica/2' }] },
      { t: 'snap', store: 's', rev: 9, part: 1, last: true, entries: [] },
    ];
    for (const message of nonsense) {
      const watcher = new Watcher(world);
      watcher.read();
      if (typeof message === 'object' && 'prev' in message!) message.prev = watcher.mirror.rev;
      expect(watcher.mirror.receive(message, 0)).toBe('renew');
      watcher.connect();
      watcher.read();
      expect(watcher.mirror.counters.snapshots).toBe(2);
      watcher.expectCurrent();
    }
  });

  it('does not go back to what a Roulette knows that lags behind', () => {
    const world = served();
    const watcher = new Watcher(world);
    watcher.read();
    const [snapshot] = (() => {
      const late = new Watcher(world);
      return late.wire;
    })();
    world.register(1, 1);
    watcher.read();
    const { rev } = watcher.mirror;
    expect(watcher.mirror.receive(snapshot, 0)).toBe('renew');
    expect(watcher.mirror.rev).toBe(rev);
    expect(watcher.mirror.view.all('flow').size).toBe(1);
  });
});

describe('the feed', () => {
  it('sends large snapshots in parts, as there is room, and then what happened meanwhile', () => {
    const world = served();
    world.register(1, 2000);
    const watcher = new Watcher(world);
    watcher.room = 1;
    watcher.connect();
    world.register(2001, 2100);
    watcher.read();
    expect(watcher.mirror.counters.snapshots).toBe(1);
    expect(watcher.mirror.counters.events).toBe(2);
    watcher.expectCurrent();
  });

  it('cuts off who is too slow, and lets them come again', () => {
    const world = served({ history: 20 });
    const slow = new Watcher(world);
    const quick = new Watcher(world);
    slow.read();
    slow.room = 5;
    for (let i = 0; i < 40; i++) {
      world.register(i, i);
      quick.read();
    }
    expect([slow.ended, quick.ended]).toEqual(['slow', undefined]);
    expect(slow.wire).toHaveLength(5);
    expect(world.roulette.counters).toMatchObject({ cut: 1, streams: 1 });
    slow.connect();
    slow.read();
    slow.expectCurrent();
    quick.expectCurrent();
  });

  it('says nothing of flows that are only alive', () => {
    const world = served({ flowIdle: 4 * SECOND });
    world.register(1, 1);
    const watcher = new Watcher(world);
    watcher.read();
    const { rev } = world.roulette;
    for (let i = 0; i < 10; i++) {
      world.runtime.advance(SECOND);
      world.ask('flows.touch', { ids: ['0000000000000001'] });
      watcher.read();
    }
    expect(world.roulette.rev).toBeGreaterThan(rev);
    expect(watcher.mirror.counters).toMatchObject({ events: 0, gaps: 0, snapshots: 1 });
    expect(watcher.mirror.counters.beats).toBeGreaterThan(8);
  });

  it('is refused to who does not ask for it', () => {
    const world = served();
    const sink = { send: () => true, onEnd: () => {} };
    expect(() => world.roulette.watch(TENANT, { t: 'watch', kinds: ['secret'] }, sink)).toThrow('kinds.0');
    expect(() => world.roulette.watch(TENANT, 'x', sink)).toThrow('found "x"');
  });
});
