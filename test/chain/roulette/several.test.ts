import { describe, expect, it } from 'vitest';
import type { Roulette } from '../../../src/chain/roulette/roulette.ts';
import type { RegistryStore, StoreWatchHandlers } from '../../../src/chain/roulette/store.ts';
import type { FeedMessage } from '../../../src/chain/roulette/watch/messages.ts';
import { Mirror } from '../../../src/chain/roulette/watch/mirror.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { TunconnectorError } from '../../../src/errors.ts';
import { passUntil } from './embedded-world.ts';
import { proposal, TENANT, World } from './roulette-world.ts';

/** Sends a request to one of several. */
function ask(roulette: Roulette, name: string, body: object) {
  const outcome: { error?: TunconnectorError; answer?: unknown } = {};
  roulette.request(TENANT, name, body, (error, answer) => Object.assign(outcome, { error, answer }));
  return outcome;
}

const flowsOf = (roulette: Roulette) =>
  [...roulette.view(TENANT).all('flow')].map(([id, { text, rev }]) => `${id} ${rev} ${text}`).sort();

describe('two Roulettes on one store', () => {
  function pair() {
    const world = new World({ packetLifetime: 2 * SECOND, flowIdle: 4 * SECOND });
    const other = world.another(world.store);
    passUntil(world.runtime, () => other.isReady);
    world.set({ fw: [1, 2], dpi: [11] });
    world.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
    return { world, other };
  }

  it('place each flow once, and move each flow of a dead replica once', () => {
    const { world, other } = pair();
    const flows = Array.from({ length: 64 }, (_, n) => proposal(n));
    const a = ask(world.roulette, 'flows.register', {
      flows: flows.map((each) => ({ ...each, path: [1, 11] })),
    });
    const b = ask(other, 'flows.register', {
      flows: flows.map((each) => ({ ...each, path: [2, 11] })),
    });
    world.runtime.advance(SECOND / 10);
    expect(a.answer).toEqual(b.answer);
    expect([a.error, b.error]).toEqual([undefined, undefined]);
    world.dead.add(1);
    ask(other, 'suspect.report', { replica: 1, evidence: 'refused' });
    world.runtime.advance(SECOND);
    const moved = [...other.view(TENANT).all('flow').values()].map(({ value }) => value);
    expect(moved.map(({ path, generation }) => [...path, generation])).toEqual(
      Array.from({ length: 64 }, () => [2, 11, 2]),
    );
    expect(world.roulette.counters.moved + other.counters.moved).toBe(64);
    expect(flowsOf(other)).toEqual(flowsOf(world.roulette));
  });

  it('let one of two editors win who saw the same', () => {
    const { world, other } = pair();
    const { rev } = world.roulette.view(TENANT).get('chain', 7)!;
    const edits = [
      ask(world.roulette, 'chain.put', { spi: 7, functions: ['fw'], ifRev: rev }),
      ask(other, 'chain.put', { spi: 7, functions: ['dpi'], ifRev: rev }),
    ];
    world.runtime.advance(SECOND / 10);
    expect(edits.map(({ error }) => error?.code)).toEqual([undefined, 'ERR_REVISION']);
    world.runtime.advance(5 * SECOND);
    expect(other.view(TENANT).chain(7)!.revisions).toHaveLength(1);
  });

  it('know that a flow is alive which only the other was told of', () => {
    const { world, other } = pair();
    world.register(1, 2);
    for (let i = 0; i < 20; i++) {
      ask(other, 'flows.touch', { ids: [proposal(1).id] });
      world.runtime.advance(SECOND);
    }
    expect([...world.flows().keys()]).toEqual([proposal(1).id]);
  });

  it('go on when one of them dies, and a mirror goes on at the other where it was', () => {
    const { world, other } = pair();
    const mirror = new Mirror(TENANT, world.runtime.now());
    const wire: FeedMessage[] = [];
    const sink = { send: (message: FeedMessage) => wire.push(message) > 0, onEnd: () => {} };
    const read = () => {
      const verdicts = wire.splice(0).map((message) => mirror.receive(message, world.runtime.now()));
      expect(verdicts.every((verdict) => verdict === 'fine')).toBe(true);
    };
    other.watch(TENANT, mirror.hello(0), sink);
    world.register(1, 3);
    read();
    other.close();
    world.register(4, 6);
    world.roulette.watch(TENANT, mirror.hello(0), sink);
    world.runtime.advance(2 * SECOND);
    read();
    expect(mirror.counters).toMatchObject({ snapshots: 1, gaps: 0 });
    expect([...mirror.view.all('flow').keys()].sort()).toEqual([...world.flows().keys()].sort());
  });
});

describe('a Roulette whose store is out of reach', () => {
  /** A store that can be made to lose its watches and to fail. */
  function loose(store: RegistryStore) {
    const failure = new TunconnectorError('ERR_STORAGE', 'the store is out of reach');
    let handlers: StoreWatchHandlers | undefined;
    let down = false;
    const control = {
      lose: (error?: TunconnectorError) => {
        const lost = handlers;
        handlers = undefined;
        lost?.onLost(error);
      },
      setDown: (value: boolean) => {
        down = value;
        if (value) control.lose(failure);
      },
    };
    const wrapped: RegistryStore = {
      id: store.id,
      load: (done) => store.load((error, state) => done(down ? failure : error, down ? undefined : state)),
      txn: (compare, ops, done) => {
        // What was on its way may have happened.
        store.txn(compare, ops, (error, result) => done(down ? failure : error, down ? undefined : result));
      },
      watch: (from, given) => {
        handlers = given;
        const mine = given;
        return store.watch(from, {
          onChange: (change) => handlers === mine && mine.onChange(change),
          onLost: (error) => mine.onLost(error),
        });
      },
      grant: store.grant.bind(store),
      keepAlive: store.keepAlive.bind(store),
      revoke: store.revoke.bind(store),
      close: store.close.bind(store),
    };
    return { wrapped, control };
  }

  it('says so, keeps what it knows, and reads everything anew when it can', () => {
    const world = new World();
    world.set({ fw: [1] });
    world.ask('chain.put', { spi: 7, functions: ['fw'] });
    const { wrapped, control } = loose(world.store);
    const roulette = world.another(wrapped);
    passUntil(world.runtime, () => roulette.isReady);
    const ended: string[] = [];
    roulette.watch(TENANT, { t: 'watch' }, { send: () => true, onEnd: (reason) => ended.push(reason) });
    control.setDown(true);
    const refused = ask(roulette, 'flows.register', { flows: [proposal(1)] });
    world.register(2, 5);
    world.runtime.advance(5 * SECOND);
    expect(refused.error).toMatchObject({ code: 'ERR_STORAGE' });
    expect(roulette.view(TENANT).chainRevision(7)?.functions).toEqual(['fw']);
    expect(roulette.view(TENANT).all('flow').size).toBe(0);
    control.setDown(false);
    world.runtime.advance(2 * SECOND);
    expect(flowsOf(roulette)).toEqual(flowsOf(world.roulette));
    expect(ended).toEqual(['reset']);
    const again = ask(roulette, 'flows.register', { flows: [proposal(1)] });
    world.runtime.advance(SECOND);
    expect(again.answer).toMatchObject({ flows: [{ path: [1], generation: 1 }] });
  });

  it('reads everything anew when its watch was compacted away', () => {
    const world = new World();
    world.set({ fw: [1] });
    const { wrapped, control } = loose(world.store);
    const roulette = world.another(wrapped);
    passUntil(world.runtime, () => roulette.isReady);
    control.lose();
    world.ask('chain.put', { spi: 7, functions: ['fw'] });
    world.runtime.advance(SECOND / 10);
    expect(roulette.view(TENANT).chainRevision(7)?.functions).toEqual(['fw']);
    expect(roulette.rev).toBe(world.roulette.rev);
  });
});
