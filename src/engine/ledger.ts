/**
 * Where each handle is, in debug pools: free, in an app's hands, or on a link; and which app touched it last. What
 * production trusts is checked here.
 */
import { TunconnectorError } from '../errors.ts';
import { DESCRIPTOR_CELLS, type PoolMemory } from '../native/binding.ts';

const Place = { Free: 0, App: 1, Link: 2 } as const;

export class Ledger {
  readonly #memory: PoolMemory;
  readonly #place: Uint8Array;
  readonly #actorOf: Uint16Array;

  constructor(memory: PoolMemory) {
    const rows = memory.descriptors.length / DESCRIPTOR_CELLS;
    this.#memory = memory;
    this.#place = new Uint8Array(rows);
    this.#actorOf = new Uint16Array(rows);
  }

  /** Throws ERR_HANDLE unless the handle names a live packet. */
  check(handle: number, doing: string): void {
    if (this.#known(handle) && this.#memory.state[handle] === 1) return;
    const last = this.#known(handle) ? this.#actorOf[handle / DESCRIPTOR_CELLS] : 0;
    throw broken(`packet ${handle} is ${doing} but not live (last app: ${last})`);
  }

  #known(handle: number): boolean {
    return handle >= 0 && handle < this.#memory.descriptors.length && handle % DESCRIPTOR_CELLS === 0;
  }

  /** A packet has begun. */
  enter(handle: number, actor: number): void {
    this.#settle(handle, Place.App, actor);
  }

  /** A packet ends. */
  leave(handle: number, actor: number): void {
    this.check(handle, 'freed');
    if (this.#place[handle / DESCRIPTOR_CELLS] === Place.Link) {
      throw broken(`packet ${handle} is freed while it is on a link (app ${actor})`);
    }
    this.#settle(handle, Place.Free, actor);
    // Whoever reads a column of a stale handle gets nonsense at once instead of plausible bytes later.
    this.#memory.length[handle] = -1;
  }

  /** A handle goes from an app's hands to a link. */
  enterLink(handle: number, actor: number): void {
    this.check(handle, 'put on a link');
    if (this.#place[handle / DESCRIPTOR_CELLS] === Place.Link) {
      throw broken(`packet ${handle} is put on a second link (app ${actor})`);
    }
    this.#settle(handle, Place.Link, actor);
  }

  leaveLink(handle: number, actor: number): void {
    this.check(handle, 'taken from a link');
    this.#settle(handle, Place.App, actor);
  }

  /** Native code has freed a handle that was on a link. */
  forgotten(handle: number, actor: number): void {
    if (this.#memory.state[handle] !== 0) {
      throw broken(`packet ${handle} was forgotten but never freed (app ${actor})`);
    }
    this.#settle(handle, Place.Free, actor);
  }

  #settle(handle: number, place: number, actor: number): void {
    this.#place[handle / DESCRIPTOR_CELLS] = place;
    this.#actorOf[handle / DESCRIPTOR_CELLS] = actor;
  }

  /** Handles that are alive, with the app that touched them last. */
  leaks(): { handle: number; actor: number }[] {
    const found: { handle: number; actor: number }[] = [];
    for (let row = 0; row < this.#actorOf.length; row++) {
      const handle = row * DESCRIPTOR_CELLS;
      if (this.#memory.state[handle] === 1) found.push({ handle, actor: this.#actorOf[row] });
    }
    return found;
  }
}

function broken(message: string): TunconnectorError {
  return new TunconnectorError('ERR_HANDLE', message);
}
