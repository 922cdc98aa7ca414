/** Members with packet halves that hold what they are told, and Roulettes, on hosts of a virtual runtime. */
import type { MemberNews, PlacedFlow } from '../../../src/chain/member/control.ts';
import { Member, type MemberEvent, type MemberOptions } from '../../../src/chain/member/member.ts';
import type { Roulette } from '../../../src/chain/roulette/roulette.ts';
import type { TableUpdate } from '../../../src/chain/tables/update.ts';
import { nextGeneration } from '../../../src/chain/wire/tlv.ts';
import type { Runtime } from '../../../src/engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { serve } from '../../../src/sim/chain/roulette.ts';
import { TENANT, World } from '../roulette/roulette-world.ts';
import { ChannelConnection } from './channel-connection.ts';

type Told<K extends keyof TableUpdate> = Extract<NonNullable<TableUpdate[K]>, readonly unknown[]>[number];
export type Stamp = Omit<PlacedFlow, 'id' | 'key'>;

/** What the tables of a packet half would be. */
export class Half {
  own = 0;
  watched = false;
  wholes = 0;
  updates = 0;
  readonly chains = new Map<number, Told<'chains'>>();
  readonly replicas = new Map<number, Told<'replicas'>>();
  rules: unknown[] = [];
  /** Questions that it was asked. */
  readonly traces: Told<'traces'>[] = [];
  /** Flows it knows, as it stamps them. */
  readonly flows = new Map<string, Stamp>();
  /** Flows that it was told of and has nothing to do with. */
  strangers = 0;

  update(update: TableUpdate): void {
    const { whole, own, chains = [], replicas = [], gone = [], rules, flows = [] } = structuredClone(update);
    this.updates++;
    this.traces.push(...(update.traces ?? []));
    if (whole) {
      this.wholes++;
      this.chains.clear();
      this.replicas.clear();
    }
    if (own) this.own = own.id;
    if (update.watched !== undefined) this.watched = update.watched;
    for (const each of chains) {
      if (each.revisions.length === 0) this.chains.delete(each.spi);
      else this.chains.set(each.spi, each);
    }
    for (const each of replicas) this.replicas.set(each.id, each);
    for (const id of gone) this.replicas.delete(id);
    if (rules) this.rules = rules;
    for (const { id, ...held } of flows) {
      const known = this.flows.get(id);
      if (!known) this.strangers++;
      // Of two that are equally new Roulette's is the one.
      else if (!isNewer(known, held)) this.flows.set(id, held);
    }
  }

  ready(name: string): number[] {
    return [...this.replicas.values()]
      .filter((r) => r.function === name && r.state === 'ready')
      .map((r) => r.id);
  }
}

const isNewer = (a: Stamp, b: Stamp) =>
  a.revision > b.revision || (a.revision === b.revision && a.generation > b.generation);

export class Host {
  readonly member: Member;
  readonly connection: ChannelConnection;
  readonly half = new Half();
  readonly events: MemberEvent[] = [];
  readonly #runtime: Runtime;
  readonly #address: string;

  constructor(
    runtime: Runtime,
    address: string,
    of: string,
    to: readonly string[],
    more: Partial<MemberOptions> = {},
  ) {
    this.#runtime = runtime;
    this.#address = address;
    this.connection = new ChannelConnection(runtime, `${address}:0`, to);
    this.member = new Member(runtime, this.connection, {
      tenant: TENANT,
      replica: { function: of, address, port: 4790 },
      term: 2 * SECOND,
      onEvent: (event) => this.events.push(event),
      ...more,
    });
    this.member.join(this.half);
  }

  /** A packet of a flow. Each host prefers other replicas, so that it matters who is first. */
  packet(id: string, key: string, spi: number): void {
    const chain = this.half.chains.get(spi);
    const revision = chain?.revisions.at(-1);
    if (!chain || chain.ended || !revision) return;
    const known = this.half.flows.get(id);
    const news: MemberNews = { touched: [id] };
    if (!known || known.revision < revision.revision) {
      const pick = (name: string) => pickFor(`${id} ${this.#address}`, this.half.ready(name));
      const path = revision.functions.map(pick);
      const placed = { spi, revision: revision.revision, path, egress: pick('egress') };
      this.half.flows.set(id, { ...placed, generation: 0 });
      news.flows = [{ id, key, ...placed, generation: 0 }];
      delete news.touched;
    }
    this.#runtime.timer(this.#runtime.now(), () => this.member.receive(news));
  }

  /** It cannot reach the replica of a flow at its first function, and takes another one. */
  mend(id: string, key: string): void {
    const known = this.half.flows.get(id);
    const of = this.half.chains.get(known?.spi ?? 0)?.revisions.find((r) => r.revision === known?.revision);
    if (!known || !of) return;
    const others = this.half.ready(of.functions[0]!).filter((each) => each !== known.path[0]);
    if (others.length === 0) return;
    const mended = {
      ...known,
      path: [pickFor(id, others), ...known.path.slice(1)],
      generation: nextGeneration(known.generation),
    };
    this.half.flows.set(id, mended);
    this.#runtime.timer(this.#runtime.now(), () => this.member.receive({ flows: [{ id, key, ...mended }] }));
  }
}

function pickFor(text: string, ids: number[]): number {
  let sum = 0;
  for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) >>> 0;
  return ids.length === 0 ? 0 : ids[sum % ids.length]!;
}

export const ROULETTE = '10.0.0.1';

export function memberWorld(seed = 1, more: ConstructorParameters<typeof World>[0] = {}) {
  const runtime = new VirtualRuntime({
    seed,
    outside: { delay: '1ms', jitter: '5ms', patience: '400ms' },
    disk: { syncTime: '2ms', jitter: '3ms' },
  });
  const world = new World({ packetLifetime: 2 * SECOND, ...more }, runtime);
  world.ask('tenant.put', {});
  for (const name of ['fw', 'dpi']) world.ask('function.put', { name });
  world.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
  world.ask('classifier.put', { rules: [{ name: 'all', match: {}, chain: 7 }] });
  serve(runtime, `${ROULETTE}:4791`, () => world.roulette, 1 << 20);
  let hosts = 1;
  const host = (of: string, options: Partial<MemberOptions> = {}, to = [`${ROULETTE}:4791`]) =>
    new Host(runtime, `10.0.0.${++hosts}`, of, to, options);
  return { runtime, world, host, settle: (time = SECOND / 2) => runtime.advance(time) };
}

/** A chain of two functions of two replicas each, an ingress and an egress, all registered. */
export function standing(seed = 1, more: ConstructorParameters<typeof World>[0] = {}) {
  const made = memberWorld(seed, more);
  const functions = ['fw', 'fw', 'dpi', 'dpi'].map((of) => made.host(of));
  const egress = made.host('egress');
  made.settle();
  const ingress = made.host('ingress');
  made.settle();
  return { ...made, functions, egress, ingress };
}

export const view = (world: World) => world.roulette.view(TENANT);
export const Ms = MILLISECOND;
export type { Roulette };
