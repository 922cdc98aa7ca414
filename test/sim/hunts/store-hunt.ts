/**
 * Roulette's store on a disk that is slow, full, fails, and loses power at any point, also while the store is being opened. A slow and obvious
 * model says what it must hold: whatever was acknowledged, and nothing of what was refused.
 */
import {
  type EmbeddedStore,
  openEmbeddedStore,
} from '../../../src/chain/roulette/embedded/embedded-store.ts';
import type { Change, Entry, Op, StoreState } from '../../../src/chain/roulette/store.ts';
import { randomStream } from '../../../src/engine/random.ts';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import type { DiskOperation } from '../../../src/engine/virtual-storage.ts';
import { TunconnectorError } from '../../../src/errors.ts';
import type { Hunt } from './hunt.ts';

export type StoreFault = { at: number } & (
  | { kind: 'crash' }
  /** Power is lost again so long after the store began to open. */
  | { kind: 'crash-twice'; after: number }
  | { kind: 'fails'; operation: DiskOperation; errno: string }
  | { kind: 'full'; for: number }
  | { kind: 'slow'; for: number; sync: number }
);

const DURING = 300 * MILLISECOND;
const OPERATIONS = ['append', 'sync', 'replace', 'truncate', 'remove', 'read', 'list'] as const;

interface Write {
  ops: Op[];
  /** Undefined: nobody was told. */
  outcome: 'ok' | 'refused' | undefined;
  rev: number;
}

class World {
  readonly runtime: VirtualRuntime;
  store: EmbeddedStore | undefined;
  readonly wrong: string[] = [];
  /** In the order in which they were asked for, since the last start. */
  writes: Write[] = [];
  /** What it holds for sure, as of the last start. */
  base: StoreState = { rev: 0, entries: [] };
  /** What a watch has brought since then. */
  changes: Change[] = [];
  openings = 0;
  readonly #options: { compactAfter: number };

  constructor(seed: number) {
    this.runtime = new VirtualRuntime({ seed, disk: { syncTime: '1ms', jitter: '2ms' } });
    this.#options = { compactAfter: 500 + randomStream(seed, 'compact').below(4000) };
  }

  /** Tries until it works: a disk that fails once is not broken. */
  open(): void {
    this.openings++;
    if (this.openings > 50) {
      this.wrong.push('it did not open in 50 tries');
      return;
    }
    const opening = this.openings;
    openEmbeddedStore(this.runtime, this.#options, (error, store) => {
      if (opening !== this.openings) return;
      if (error) {
        // The disk says so: as long as nothing is broken, the next try may work.
        if (error.errno === undefined) this.wrong.push(`it did not open: ${error.message}`);
        else this.runtime.timer(this.runtime.now() + MILLISECOND, () => this.open());
        return;
      }
      this.store = store!;
      store!.load((error, state) => {
        if (opening !== this.openings) return;
        if (error) this.wrong.push(`it did not load: ${error.message}`);
        else this.#compare(state!);
      });
    });
  }

  crash(): void {
    this.runtime.disk.crash();
    this.store?.close();
    this.store = undefined;
    this.open();
  }

  /** What was found must come of what was there and some of what was asked for, in order. */
  #compare(state: StoreState): void {
    const held = this.#replay(state.rev);
    if (typeof held === 'string') this.wrong.push(held);
    else if (sorted(held) !== sorted(state.entries))
      this.wrong.push(`revision ${state.rev} is not what its transactions made`);
    this.base = structuredClone(state);
    this.writes = [];
    this.changes = [];
    this.store!.watch(state.rev + 1, {
      onChange: (change) => {
        const last = this.changes.at(-1)?.rev ?? this.base.rev;
        if (change.rev !== last + 1) this.wrong.push(`the watch says ${change.rev} after ${last}`);
        this.changes.push(change);
      },
      onLost: (error) => this.wrong.push(`the watch is lost: ${error?.message}`),
    });
  }

  /** What there is at a revision, or what is wrong with it. */
  #replay(rev: number): Map<string, Entry> | string {
    const held = new Map(this.base.entries.map((entry) => [entry.key, entry]));
    let at = this.base.rev;
    const told = Math.max(at, ...this.changes.map((change) => change.rev));
    if (rev < told) return `revision ${rev} after ${told} was seen`;
    for (const { ops, outcome, rev: said } of this.writes) {
      if (outcome === 'refused') continue;
      if (outcome === undefined && at >= rev) continue;
      const effective = ops.filter(({ key, value }) => value !== undefined || held.has(key));
      if (effective.length === 0) continue;
      at++;
      if (outcome === 'ok' && at > rev) return `revision ${rev}, but ${said} was acknowledged`;
      for (const { key, value } of effective) {
        if (value === undefined) held.delete(key);
        else held.set(key, { key, value, rev: at });
      }
    }
    return at === rev ? held : `revision ${rev}, but what was asked for makes ${at}`;
  }

  write(ops: Op[]): void {
    const { store } = this;
    if (!store) return;
    const write: Write = { ops, outcome: undefined, rev: 0 };
    const opening = this.openings;
    this.writes.push(write);
    store.txn([], ops, (error, result) => {
      if (opening !== this.openings) return;
      if (!error) {
        write.outcome = 'ok';
        write.rev = result!.rev;
      } else if (error.code !== 'ERR_CLOSED') write.outcome = 'refused';
    });
  }

  /** Now, without a crash: what it holds is what it said. */
  look(): void {
    const opening = this.openings;
    this.store?.load((error, state) => {
      if (opening !== this.openings) return;
      if (error) {
        this.wrong.push(`it did not load: ${error.message}`);
        return;
      }
      const held = this.#replayAnswered(state!.rev);
      if (held !== undefined && sorted(held) !== sorted(state!.entries))
        this.wrong.push(`revision ${state!.rev} is not what it answered`);
    });
  }

  /** By what was answered alone; undefined while something is not. */
  #replayAnswered(rev: number): Map<string, Entry> | undefined {
    if (this.writes.some(({ outcome }) => outcome === undefined)) return undefined;
    const held = this.#replay(rev);
    if (typeof held !== 'string') return held;
    this.wrong.push(held);
    return undefined;
  }
}

const sorted = (entries: Iterable<Entry> | ReadonlyMap<string, Entry>): string => {
  const list = entries instanceof Map ? [...entries.values()] : [...(entries as Iterable<Entry>)];
  return JSON.stringify(
    list.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ key, value, rev }) => [key, value, rev]),
  );
};

export const storeHunt: Hunt<StoreFault> = {
  draw(seed) {
    const random = randomStream(seed, 'store faults');
    const time = (most: number) => Math.floor(random.unit() * most);
    return Array.from({ length: 1 + random.below(6) }, (): StoreFault => {
      const at = time(DURING);
      switch (random.below(8)) {
        case 0:
        case 1:
          return { at, kind: 'crash' };
        case 2:
          return { at, kind: 'crash-twice', after: time(8 * MILLISECOND) };
        case 3:
          return { at, kind: 'full', for: time(DURING / 3) };
        case 4:
          return { at, kind: 'slow', for: time(DURING / 3), sync: time(60 * MILLISECOND) };
        default: {
          const operation = OPERATIONS[random.below(OPERATIONS.length)]!;
          return { at, kind: 'fails', operation, errno: random.below(2) === 0 ? 'EIO' : 'ENOSPC' };
        }
      }
    }).sort((a, b) => a.at - b.at);
  },

  async run(seed, script) {
    const world = new World(seed);
    const { runtime } = world;
    const random = randomStream(seed, 'store writer');
    const disk = runtime.disk;
    for (const fault of script) {
      runtime.timer(fault.at, () => {
        if (fault.kind === 'crash' || fault.kind === 'crash-twice') world.crash();
        if (fault.kind === 'crash-twice') runtime.timer(runtime.now() + fault.after, () => world.crash());
        if (fault.kind === 'fails') disk.failNext({ operation: fault.operation, errno: fault.errno });
        if (fault.kind === 'full') {
          disk.configure({ capacity: disk.used + random.below(400) });
          runtime.timer(fault.at + fault.for, () => disk.configure({ capacity: Number.POSITIVE_INFINITY }));
        }
        if (fault.kind === 'slow') {
          disk.configure({ syncTime: fault.sync });
          runtime.timer(fault.at + fault.for, () => disk.configure({ syncTime: '1ms' }));
        }
      });
    }
    world.open();
    try {
      while (runtime.now() < DURING) {
        for (let burst = random.below(4); burst > 0; burst--) {
          const keys = new Set(Array.from({ length: 1 + random.below(3) }, () => `k${random.below(12)}`));
          world.write(
            [...keys].map((key) =>
              random.below(4) === 0 ? { key } : { key, value: 'v'.repeat(random.below(150)) },
            ),
          );
        }
        if (random.below(10) === 0) world.look();
        runtime.advance(random.below(3 * MILLISECOND));
        if (world.wrong.length > 0) return world.wrong[0];
      }
      // Everything that was asked for is answered, then power is lost once more.
      runtime.advance(SECOND);
      const waiting = world.writes.filter(({ outcome }) => outcome === undefined).length;
      if (waiting > 0) return `${waiting} transactions were never answered`;
      world.look();
      runtime.advance(SECOND);
      world.crash();
      runtime.advance(SECOND);
      if (!world.store) return 'it did not open again';
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      return error.message;
    }
    return world.wrong[0];
  },

  simpler(fault) {
    const found: StoreFault[] = [];
    if ('for' in fault && fault.for > MILLISECOND) found.push({ ...fault, for: Math.floor(fault.for / 2) });
    for (const unit of [10 * MILLISECOND, MILLISECOND])
      if (fault.at % unit !== 0) found.push({ ...fault, at: fault.at - (fault.at % unit) });
    return found;
  },
};
