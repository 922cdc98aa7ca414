/** The link as the page knows it: what the server tells, what is edited, and what can be done about it. */
import {
  ControlError,
  type DropsMessage,
  type HelloMessage,
  type ImpairClient,
  type Sides,
  type Spec,
  type Stats,
  type StreamMessage,
} from '../../client/index.ts';
import type { Connection } from '../shared/connection.ts';
import { Topic } from '../shared/topic.ts';
import { Draft } from './draft.ts';
import { History } from './history.ts';
import { DEFAULT, labelsOf, sidesOf, withSides } from './rules.ts';
import type { Presets } from './stages.ts';

/** What became of something that was applied; an error of the server is a ControlError. */
export type Outcome = 'applied' | 'behind' | Error;

export class Link {
  readonly connection = new Topic<Connection>('connecting');
  readonly hello = new Topic<HelloMessage | undefined>(undefined);
  readonly draft = new Topic<Draft | undefined>(undefined);
  readonly stats = new Topic<Stats | undefined>(undefined);
  readonly drops = new Topic<DropsMessage>({ type: 'drops', drops: [], more: 0 });
  readonly presets = new Topic<Presets>({});
  /** The label of the rule that is looked at. */
  readonly selected = new Topic(DEFAULT);
  /** Something to say once, to everybody. */
  readonly news = new Topic('');
  /** What went wrong and needs somebody to look at it. */
  readonly failure = new Topic<Error | undefined>(undefined);
  readonly history = new History();
  readonly client: ImpairClient;
  /** What is being put; changes that are told of meanwhile are its own. */
  #putting: Promise<unknown> = Promise.resolve();

  constructor(client: ImpairClient) {
    this.client = client;
  }

  /** A message of the stream. */
  receive(message: StreamMessage): void {
    switch (message.type) {
      case 'hello':
        this.hello.value = message;
        void this.#refresh();
        break;
      case 'spec':
        void this.#refresh(message.revision);
        break;
      case 'stats':
        this.history.add(message, this.wallClock(message.at) / 1000);
        this.stats.value = message;
        break;
      case 'drops':
        this.drops.value = message;
    }
  }

  connected(connected: boolean): void {
    const state = connected ? 'live' : 'lost';
    if (this.connection.value === state) return;
    if (!connected) this.history.interrupt();
    this.connection.value = state;
  }

  async loadPresets(): Promise<void> {
    const { presets } = await this.client.presets();
    this.presets.value = Object.fromEntries(presets.map((preset) => [preset.name, preset]));
  }

  /** ms since 1970 of a time on the link's clock. */
  wallClock(at: number): number {
    const { value } = this.hello;
    return value ? Date.parse(value.time) + (at - value.at) / 1e6 : 0;
  }

  /** @param subject what it is about: more of the same is undone as one */
  edit(spec: Spec, subject: string): void {
    this.draft.value?.edit(spec, subject);
    this.#draftChanged();
  }

  /** Changes what is said of the rule that is looked at. */
  editSides(change: (sides: Sides) => Sides, subject: string): void {
    const label = this.selected.value;
    const spec = this.draft.value?.spec;
    const sides = spec && sidesOf(spec, label);
    if (spec && sides) this.edit(withSides(spec, label, change(sides)), `${label}/${subject}`);
  }

  /** Takes back the last edit; where there is none, what was applied last is replaced by what was before. */
  async undo(): Promise<void> {
    const draft = this.draft.value;
    if (!draft) return;
    if (draft.edits > 0) {
      draft.undoEdit();
      this.#draftChanged();
      return;
    }
    const { earlier } = draft;
    if (!earlier) return;
    const outcome = await this.#put(draft, earlier, draft.revision, true);
    if (outcome instanceof Error) this.failure.value = outcome;
  }

  discard(): void {
    this.draft.value?.discard();
    this.#draftChanged();
  }

  /** Puts what is edited, or another spec, in force. @param over whatever revision there is now */
  async apply(spec = this.draft.value?.spec, over = false): Promise<Outcome | undefined> {
    const draft = this.draft.value;
    if (!draft || !spec) return undefined;
    if (draft.behind && !over) return 'behind';
    return this.#put(draft, spec, over ? undefined : draft.revision, false);
  }

  async #put(draft: Draft, spec: Spec, revision: number | undefined, undone: boolean): Promise<Outcome> {
    this.failure.value = undefined;
    const putting = this.client.putSpec(spec, revision === undefined ? {} : { revision });
    this.#putting = putting.catch(() => {});
    const sent = draft.sent();
    try {
      draft.accepted(await putting, sent, undone);
      this.#draftChanged();
      this.news.value = `${undone ? 'Undone' : 'Applied'}: revision ${draft.revision} is in force.`;
      return 'applied';
    } catch (error) {
      if (!(error instanceof ControlError) || error.status !== 412) return known(error);
      await this.#load().catch((failed: unknown) => this.#failed(failed));
      return 'behind';
    }
  }

  /** @param revision that is in force, as somebody says; it may be known already */
  async #refresh(revision?: number): Promise<void> {
    await this.#putting;
    if (revision !== undefined && this.draft.value?.revision === revision) return;
    await this.#load().catch((error: unknown) => this.#failed(error));
  }

  #failed(error: unknown): void {
    this.failure.value = known(error);
  }

  async #load(): Promise<void> {
    const document = await this.client.spec();
    const draft = this.draft.value;
    if (!draft) this.draft.value = new Draft(document);
    else if (draft.changed(document)) {
      this.news.value = `Changed elsewhere: revision ${document.revision} is in force.`;
      this.#draftChanged();
    }
  }

  #draftChanged(): void {
    const draft = this.draft.value;
    if (!draft) return;
    if (!labelsOf(draft.spec).includes(this.selected.value)) this.selected.value = DEFAULT;
    this.draft.value = draft;
  }
}

const known = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));
