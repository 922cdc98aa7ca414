/** A simulated link: an impairment each way, the code of real links, with a socket at either end for a host's interface. */
import { parseLink } from '../../engine/config.ts';
import { MODEST, memoryFor } from '../../engine/memory-plan.ts';
import { Network } from '../../engine/network.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { type Impair, impair } from '../../impair/impair.ts';
import type { ImpairInspection } from '../../impair/inspect.ts';
import { ANSWERS } from '../../impair/link.ts';
import { compileSpec, type ImpairSpec } from '../../impair/spec/spec.ts';
import { parseStages } from '../../impair/spec/text.ts';
import { HEADROOM, SMALL_SLOT } from '../../native/binding.ts';
import { HEADER as ETHERNET } from '../../packet/ethernet.ts';
import { type WireEnd, type WireFar, wire } from '../../tun/wire.ts';
import type { LinkLimits, LinkSettings } from '../topology/topology.ts';

const LINKS = ['a.out -> up.in', 'up.out -> b.in', 'b.out -> down.in', 'down.out -> a.in', ...ANSWERS];

/** What is plugged into an end: the interface of a host, or the port of a switch. */
export interface Plugged extends WireFar {
  join(far: WireEnd | undefined): void;
}

export class SimLink {
  readonly name: string;
  /** Runs on the world's clock, whatever the clocks of hosts show. */
  readonly network: Network;
  readonly #ends: readonly [WireEnd, WireEnd];
  readonly #spec: ImpairSpec;
  /** Of its apps, where the spec does not say them. */
  readonly #usual: Usual;
  #isDown = false;

  private constructor(
    name: string,
    network: Network,
    ends: [WireEnd, WireEnd],
    spec: ImpairSpec,
    usual: Usual,
  ) {
    this.name = name;
    this.network = network;
    this.#ends = ends;
    this.#spec = spec;
    this.#usual = usual;
  }

  /**
   * @param settings `up` of the impairment is from its first end to its second
   * @param options `seed` of its draws, and its limits, where the spec has none of its own
   * @throws ERR_CONFIG with what is wrong in the spec
   */
  static async make(
    runtime: Runtime,
    { name, impair: spec, layer, mtu }: LinkSettings,
    { seed, limits }: { seed: number; limits: LinkLimits },
  ): Promise<SimLink> {
    const usual = { seed, ...limits, superframes: isShort(mtu, layer) ? 0 : 256 };
    const [a] = wire({ layer });
    const [b] = wire({ layer });
    const apps = { a, b, ...directions(spec, usual) };
    const created = new Map(
      Object.entries({ ...apps, up: impair.create(apps.up.options), down: impair.create(apps.down.options) }),
    );
    const network = new Network(runtime, {
      memory: memoryFor(created, LINKS.map(parseLink), MODEST),
      allowance: MODEST,
    });
    for (const [app, made] of Object.entries(apps)) network.app(app, made);
    for (const link of LINKS) network.link(link);
    await network.start();
    return new SimLink(name, network, [a, b], spec, usual);
  }

  /** Plugs an interface into one of its ends; what was there before is unplugged. */
  plug(side: 0 | 1, end: Plugged): void {
    const own = this.#ends[side];
    own.join(end);
    end.join(own);
  }

  unplug(side: 0 | 1): void {
    this.#ends[side].join(undefined);
  }

  /**
   * Another impairment, for what comes from now on. What is on its way keeps its time.
   *
   * @param spec undefined: that of the topology
   * @param bursts by a number of each: stages more, which all packets pass behind their own
   * @throws ERR_CONFIG, ERR_LIMIT
   */
  async change(spec?: ImpairSpec, bursts: ReadonlyMap<number, string> = new Map()): Promise<void> {
    const { up, down } = directions(spec ?? this.#spec, this.#usual, bursts);
    await this.network.app('up', up).app('down', down).commit();
  }

  /** Nothing passes while it is down: what comes is dropped; what is on its way arrives when it is due, as on a cable that is cut behind it. */
  get isDown(): boolean {
    return this.#isDown;
  }

  set isDown(isDown: boolean) {
    this.#isDown = isDown;
    for (const end of this.#ends) end.cut = isDown;
  }

  /** What each direction did. */
  inspect(): { up: ImpairInspection; down: ImpairInspection } {
    return {
      up: this.network.get<Impair>('up').inspect(),
      down: this.network.get<Impair>('down').inspect(),
    };
  }
}

type Direction = ReturnType<typeof compileSpec>['up'];
type Stages = NonNullable<Direction['stages']>;

type Usual = LinkLimits & { seed: number; superframes: number };

/** Whether the longest IP packets fit into a small slot. @param mtu bytes */
export const isShort = (mtu: number, layer: 'L2' | 'L3'): boolean =>
  mtu + (layer === 'L2' ? ETHERNET : 0) <= SMALL_SLOT - HEADROOM;

function directions(spec: ImpairSpec, usual: Usual, bursts: ReadonlyMap<number, string> = new Map()) {
  const { up, down } = compileSpec(spec);
  return {
    up: impair({ ...usual, ...withBursts(up, bursts) }),
    down: impair({ ...usual, ...withBursts(down, bursts) }),
  };
}

/** Named by who wants them, so that one that begins or ends changes no draw of another. */
function withBursts(options: Direction, bursts: ReadonlyMap<number, string>): Direction {
  const more = [...bursts].flatMap(([by, text]) =>
    parseStages(text).map((stage, n) => ({ ...stage, name: `burst-${by}-${n}` })),
  );
  if (more.length === 0) return options;
  const behind = (stages: Stages = []) => [...(typeof stages === 'string' ? [stages] : stages), ...more];
  const behindEach = <Rule extends { stages?: Stages }>(rules: readonly Rule[] = []) =>
    rules.map((rule) => ({ ...rule, ...(rule.stages !== undefined && { stages: behind(rule.stages) }) }));
  return {
    ...options,
    stages: behind(options.stages),
    rules: behindEach(options.rules),
    timeline: behindEach(options.timeline).map((change) => ({ ...change, rules: behindEach(change.rules) })),
  };
}
