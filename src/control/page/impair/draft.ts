/**
 * The spec that is in force, and what a person has changed of it but not applied yet.
 *
 * Undo goes back in two rows: first through the edits that are not applied, one by one, then through the revisions that were in
 * force before, of which each becomes the newest when it is applied again.
 */
import type { Spec, SpecDocument } from '../../client/index.ts';

/** Most steps of each kind that can be undone. */
const STEPS = 100;

export class Draft {
  #revision: number;
  #applied: Spec;
  #spec: Spec;
  /** What was before each edit. */
  #edits: Spec[] = [];
  #earlier: Spec[] = [];
  /** What the last edit was about: more of the same is one step. */
  #subject = '';
  /** Somebody changed the spec under the edits. */
  #behind = false;

  constructor({ revision, spec }: SpecDocument) {
    this.#revision = revision;
    this.#applied = spec;
    this.#spec = spec;
  }

  /** Of what is in force. */
  get revision(): number {
    return this.#revision;
  }

  get applied(): Spec {
    return this.#applied;
  }

  /** With the edits. */
  get spec(): Spec {
    return this.#spec;
  }

  /** How many edits are not applied. */
  get edits(): number {
    return this.#edits.length;
  }

  get behind(): boolean {
    return this.#behind;
  }

  /** The spec that undo would put in force again; undefined when there is none, or edits come first. */
  get earlier(): Spec | undefined {
    return this.#edits.length > 0 ? undefined : this.#earlier.at(-1);
  }

  get undoable(): boolean {
    return this.#edits.length > 0 || this.#earlier.length > 0;
  }

  /** @param subject what it is about: a slider that moves on makes no new step */
  edit(spec: Spec, subject: string): void {
    if (subject !== this.#subject || this.#edits.length === 0) push(this.#edits, this.#spec);
    this.#subject = subject;
    this.#spec = spec;
  }

  /** Takes the last edit back. */
  undoEdit(): void {
    this.#spec = this.#edits.pop() ?? this.#spec;
    this.#subject = '';
    if (this.#edits.length === 0) this.discard();
  }

  /** All edits go; what is in force is shown. */
  discard(): void {
    this.#edits = [];
    this.#subject = '';
    this.#behind = false;
    this.#spec = this.#applied;
  }

  /** What is there now is on its way to the server: what is edited from here on is a step of its own. The steps so far. */
  sent(): number {
    this.#subject = '';
    return this.#edits.length;
  }

  /**
   * Our own change is in force.
   * @param sent steps that it was made of; later ones remain
   * @param undone it was one of before
   */
  accepted({ revision, spec }: SpecDocument, sent = this.#edits.length, undone = false): void {
    if (undone) this.#earlier.pop();
    else push(this.#earlier, this.#applied);
    this.#revision = revision;
    this.#applied = spec;
    if (this.#edits.length > sent) this.#edits.splice(0, sent);
    else this.discard();
    this.#behind = false;
  }

  /** What is in force was changed by somebody else, or by a command that was started anew. False when that is no news. */
  changed({ revision, spec }: SpecDocument): boolean {
    if (revision === this.#revision && JSON.stringify(spec) === JSON.stringify(this.#applied)) return false;
    push(this.#earlier, this.#applied);
    this.#revision = revision;
    this.#applied = spec;
    if (this.#edits.length > 0) this.#behind = true;
    else this.#spec = spec;
    return true;
  }
}

function push(steps: Spec[], spec: Spec): void {
  steps.push(spec);
  if (steps.length > STEPS) steps.shift();
}
