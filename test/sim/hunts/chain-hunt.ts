/**
 * A whole chain, with packets of a few flows all the time, while replicas die, stand still and come back, members and Roulette do not hear each
 * other, Roulette is away, and the chain is edited. Who has nothing to do with it loses nothing; when it is over all is whole, and Roulette's
 * table says where flows really go.
 */
import { MODEST } from '../../../src/engine/memory-plan.ts';
import { randomStream } from '../../../src/engine/random.ts';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { TENANT } from '../../chain/roulette/roulette-world.ts';
import { type Replica, range, type Trip, WholeChain, wayOf } from '../../chain/whole/chain-world.ts';
import type { Hunt } from './hunt.ts';

export type ChainFault = { at: number } & (
  | { kind: 'refusing' | 'silent'; replica: number; for: number }
  /** A replica, or an end, and Roulette. */
  | { kind: 'part'; who: number | 'ingress' | 'egress'; for: number }
  | { kind: 'roulette'; for: number }
  | { kind: 'edit'; functions: string[] }
);

const FUNCTIONS = { fw: 2, dpi: 2 };
const ORDERS = [['fw', 'dpi'], ['dpi', 'fw'], ['fw'], ['dpi']];
const FLOWS = range(0, 16);
const SIZE = { memory: 3 << 20, allowance: MODEST, flows: 64, interval: 40 * MILLISECOND };
const DURING = 2 * SECOND;
/** Leases end 2 s after the last word, a second late at most; probes find a replica again within a second; and some time to tell everybody. */
const SETTLE = 6 * SECOND;

const time = (most: number, unit: number) => Math.floor((unit * most) / MILLISECOND) * MILLISECOND;

class Run {
  readonly chain: WholeChain;
  readonly hurt = new Set<Replica>();
  readonly #ends = new Map<number, (() => void)[]>();
  #away = 0;
  #back = () => {};

  constructor(chain: WholeChain) {
    this.chain = chain;
  }

  begin(fault: ChainFault): void {
    const { chain } = this;
    switch (fault.kind) {
      case 'refusing':
      case 'silent': {
        const replica = chain.replicas[fault.replica]!;
        this.hurt.add(replica);
        this.#at(fault.at + fault.for, chain.kill(replica, fault.kind));
        return;
      }
      case 'part': {
        const who = typeof fault.who === 'number' ? chain.replicas[fault.who]! : chain[fault.who];
        this.#at(fault.at + fault.for, chain.part(who));
        return;
      }
      case 'roulette':
        if (this.#away++ === 0) this.#back = chain.stopRoulette();
        this.#at(fault.at + fault.for, () => {
          if (--this.#away === 0) this.#back();
        });
        return;
      case 'edit':
        if (this.#away === 0) chain.edit(...fault.functions);
    }
  }

  #at(time: number, end: () => void): void {
    this.#ends.set(time, [...(this.#ends.get(time) ?? []), end]);
  }

  /** What ends between two times. */
  end(from: number, to: number): void {
    for (const [time, ends] of [...this.#ends].sort(([a], [b]) => a - b)) {
      if (time < from || time >= to) continue;
      this.#ends.delete(time);
      for (const end of ends) end();
    }
  }
}

/** What each packet may have passed: the functions of one revision of the chain, each once and in order. */
function mixed(trips: readonly Trip[]): string | undefined {
  const known = new Set(ORDERS.map((each) => each.join()));
  for (const { way, back, came, flow } of trips) {
    if (came === Number.POSITIVE_INFINITY) continue;
    const order = (back ? [...way].reverse() : way).map((each) => each.of).join();
    if (!known.has(order)) return `a packet of flow ${flow} has passed ${order || 'nothing'}`;
  }
  return undefined;
}

/** Who lost something though nothing that it ever passed was hurt. @param all also those of before */
function innocent(
  trips: readonly Trip[],
  hurt: ReadonlySet<Replica>,
  all: readonly Trip[],
): string | undefined {
  const ids = new Set([...hurt].map(({ member }) => member.id));
  const touched = new Set(all.filter(({ way }) => way.some(({ id }) => ids.has(id))).map(({ flow }) => flow));
  const lost = trips.find(({ came, flow }) => came === Number.POSITIVE_INFINITY && !touched.has(flow));
  return (
    lost &&
    `flow ${lost.flow} lost a packet that was sent at ${lost.sent / MILLISECOND} ms, and has passed nobody who was hurt`
  );
}

export const chainHunt: Hunt<ChainFault> = {
  draw(seed) {
    const random = randomStream(seed, 'chain faults');
    return Array.from({ length: 1 + random.below(5) }, (): ChainFault => {
      const at = time(DURING, random.unit());
      const lasts = time(DURING - at, random.unit());
      const replica = random.below(4);
      switch (random.below(6)) {
        case 0:
          return { at, kind: 'refusing', replica, for: lasts };
        case 1:
          return { at, kind: 'silent', replica, for: lasts };
        case 2:
          return { at, kind: 'part', who: replica, for: lasts };
        case 3:
          return { at, kind: 'part', who: random.below(2) === 0 ? 'ingress' : 'egress', for: lasts };
        case 4:
          return { at, kind: 'roulette', for: lasts };
        default:
          return { at, kind: 'edit', functions: ORDERS[random.below(ORDERS.length)]! };
      }
    }).sort((a, b) => a.at - b.at);
  },

  async run(seed, script) {
    const chain = await WholeChain.start(FUNCTIONS, { seed, ...SIZE });
    try {
      const run = new Run(chain);
      chain.run(FLOWS, 60 * MILLISECOND);
      const trips = chain.run(FLOWS, DURING + 40 * MILLISECOND, (elapsed) => {
        run.end(elapsed, elapsed + MILLISECOND);
        for (const fault of script)
          if (fault.at >= elapsed && fault.at < elapsed + MILLISECOND) run.begin(fault);
        // What was to last no time at all.
        run.end(elapsed, elapsed + MILLISECOND);
      });
      const wrong = mixed(trips) ?? innocent(trips, run.hurt, chain.trips);
      if (wrong !== undefined) return wrong;
      chain.run(FLOWS, 500 * MILLISECOND);
      chain.runtime.advance(SETTLE);
      const view = () => chain.world.roulette.view(TENANT);
      for (const name of Object.keys(FUNCTIONS)) {
        const ready = view().readyReplicas(name).length;
        if (ready !== 2) return `${ready} replicas of ${name} are ready, expected 2`;
      }
      chain.run(FLOWS, 100 * MILLISECOND);
      chain.runtime.advance(SECOND);
      const after = chain.run(FLOWS, 100 * MILLISECOND);
      const lost = after.filter(({ came }) => came === Number.POSITIVE_INFINITY);
      if (lost.length > 0) return `${lost.length} packets are lost after all is over`;
      const { waiting } = chain.ingress.member.status.flows;
      if (waiting > 0) return `${waiting} flows still wait to be registered`;
      const known = [...view().all('flow').values()].map(({ value }) => value.path.join(' ')).sort();
      const ways = new Map(after.map((trip) => [trip.flow, wayOf(trip)]));
      const taken = [...ways.values()].sort();
      if (known.join() !== taken.join()) return `the table says ${known.join()}, packets go ${taken.join()}`;
      const orders = new Set(
        after.map(({ way, back }) => (back ? [...way].reverse() : way).map(({ of }) => of).join()),
      );
      if (orders.size !== 1) return `packets pass ${[...orders].join(' and ')}`;
      return undefined;
    } finally {
      await chain.close();
    }
  },

  simpler(fault) {
    const found: ChainFault[] = [];
    if ('for' in fault && fault.for > MILLISECOND)
      found.push({ ...fault, for: Math.floor(fault.for / 2 / MILLISECOND) * MILLISECOND });
    for (const unit of [SECOND, 100 * MILLISECOND])
      if (fault.at % unit !== 0) found.push({ ...fault, at: fault.at - (fault.at % unit) });
    return found;
  },
};
