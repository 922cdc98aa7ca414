/**
 * The control half of an impaired link: its spec as it was written, which changes one whole commit at a time and is numbered,
 * and looks at what the link does. Adapters (HTTP, signals) call it; it knows none of them.
 */
import { EventEmitter } from 'node:events';
import type { AppSpec } from '../../engine/app.ts';
import type { Attachable } from '../../engine/attach.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { impairments } from '../../impair/link.ts';
import { patchRule, type RulePatch, removeRule } from '../../impair/spec/edit.ts';
import { readRules } from '../../impair/spec/read.ts';
import { type CompiledSpec, compileSpec, type WrittenSpec, writtenSpec } from '../../impair/spec/spec.ts';
import { type LinkObserver, observeLink } from './attached.ts';
import type { RuleList, SpecDocument, Stats } from './contract.ts';
import { FlowTable } from './flow-table.ts';

/** A look at the flows answers for others too while it is younger than this, ns. */
const FRESH = 500 * MILLISECOND;

/** A network with impairments called `up` and `down`. */
export interface ImpairedNetwork extends Attachable {
  /** In one commit, all or nothing. */
  replace(apps: Record<string, AppSpec>): Promise<void>;
}

export interface LinkSettings {
  /** What the network was started with. */
  spec: WrittenSpec;
  /** Of all draws, where the spec has none. */
  seed: number;
  /** Names of the ends. */
  left: string;
  right: string;
}

export class ImpairedLink extends EventEmitter<{ changed: [revision: number] }> {
  readonly left: string;
  readonly right: string;
  readonly #network: ImpairedNetwork;
  readonly #runtime: Runtime;
  readonly #observer: LinkObserver;
  #spec: WrittenSpec;
  #seed: number;
  #revision = 1;
  #changing: Promise<unknown> = Promise.resolve();
  #flows: { table: FlowTable; taken: number } | undefined;
  #looking: Promise<FlowTable> | undefined;

  private constructor(
    network: ImpairedNetwork,
    runtime: Runtime,
    observer: LinkObserver,
    { spec, seed, left, right }: LinkSettings,
  ) {
    super();
    this.#network = network;
    this.#runtime = runtime;
    this.#observer = observer;
    this.#spec = spec;
    this.#seed = spec.seed ?? seed;
    this.left = left;
    this.right = right;
  }

  /** @param network which runs @param runtime whose clock says how old a look is */
  static async over(
    network: ImpairedNetwork,
    runtime: Runtime,
    settings: LinkSettings,
  ): Promise<ImpairedLink> {
    return new ImpairedLink(network, runtime, await observeLink(network), settings);
  }

  get revision(): number {
    return this.#revision;
  }

  get seed(): number {
    return this.#seed;
  }

  /** ns of the Unix epoch at 0 on the link's clock. */
  get startOfTime(): bigint {
    return this.#observer.startOfTime;
  }

  document(): SpecDocument {
    return { revision: this.#revision, spec: this.#spec as SpecDocument['spec'], seed: this.#seed };
  }

  rules(): RuleList {
    return { revision: this.#revision, rules: readRules(this.#spec) as RuleList['rules'] };
  }

  /**
   * Puts another spec in place of all that there is. Without a seed it keeps the one in force, and with it all draws of what
   * stays as it was.
   * @param expected the revision it is meant to follow
   * @throws ERR_CONFIG and nothing has changed; ERR_REVISION when it follows another one; ERR_LIMIT when there is no memory for it
   */
  replace(spec: unknown, expected?: number): Promise<void> {
    return this.#change(() => writtenSpec(spec), expected);
  }

  /** Changes or makes one rule. @returns its place among the rules, -1 for the default @throws as `replace` */
  async patchRule(
    label: string,
    patch: RulePatch,
    expected?: number,
  ): Promise<{ rule: Record<string, unknown>; position: number; revision: number }> {
    await this.#change((spec) => patchRule(spec, label, patch), expected);
    const { rules = [], both, up, down, preset } = this.#spec;
    const position = rules.findIndex((rule) => rule.label === label);
    const rule = position < 0 ? { label, both, up, down, preset } : { ...rules[position] };
    return { rule, position, revision: this.#revision };
  }

  /** @throws as `replace`, ERR_NOT_FOUND when there is no such rule */
  removeRule(label: string, expected?: number): Promise<void> {
    return this.#change((spec) => removeRule(spec, label), expected);
  }

  /** @param rules most of each direction, the busiest */
  async stats(rules = Number.POSITIVE_INFINITY): Promise<Stats> {
    return { revision: this.#revision, ...(await this.#observer.stats(rules)) };
  }

  /** All flows, as they were at most half a second ago. */
  flows(): Promise<FlowTable> {
    const known = this.#flows;
    if (known && this.#runtime.now() - known.taken < FRESH) return Promise.resolve(known.table);
    this.#looking ??= this.#lookAtFlows(known?.table).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  drops(): ReturnType<LinkObserver['drops']> {
    return this.#observer.drops();
  }

  unwatchDrops(): Promise<void> {
    return this.#observer.unwatchDrops();
  }

  close(): void {
    this.#observer.close();
    this.removeAllListeners();
  }

  async #lookAtFlows(before: FlowTable | undefined): Promise<FlowTable> {
    const up = await this.#observer.flows('up');
    const down = await this.#observer.flows('down');
    const table = new FlowTable(up, down, before);
    this.#flows = { table, taken: this.#runtime.now() };
    return table;
  }

  /** One at a time, so that each edits what the one before has left. */
  #change(edit: (spec: WrittenSpec) => WrittenSpec, expected: number | undefined): Promise<void> {
    const change = this.#changing.then(async () => {
      if (expected !== undefined && expected !== this.#revision)
        throw new TunconnectorError(
          'ERR_REVISION',
          `the spec has changed: found revision ${this.#revision}, expected ${expected}`,
          { remedy: 'read it again' },
        );
      const spec = edit(this.#spec);
      const seed = spec.seed ?? this.#seed;
      await this.#network.replace(impairments(compiled(spec, seed)));
      this.#spec = spec;
      this.#seed = seed;
      this.#revision++;
      this.emit('changed', this.#revision);
    });
    this.#changing = change.catch(() => {});
    return change;
  }
}

/** A spec that is hostile rather than wrong is refused like a wrong one. */
function compiled(spec: WrittenSpec, seed: number): CompiledSpec {
  try {
    // Anything at all may have been written: only what is an object can have a seed.
    const seeded = typeof spec === 'object' && !Array.isArray(spec) ? { ...spec, seed } : spec;
    return compileSpec(seeded);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TunconnectorError('ERR_CONFIG', 'the spec is nested too deeply', { cause: error });
  }
}
