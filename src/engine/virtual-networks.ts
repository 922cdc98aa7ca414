/**
 * The networks of a virtual runtime: those that were woken breathe, in the order in which they were added, round after round until
 * nothing moves any more at this instant. What a step costs does not depend on how many networks sleep.
 */
import { TunconnectorError } from '../errors.ts';
import { DeadlineHeap } from './deadlines.ts';
import type { Driven, Driver, Watch } from './runtime.ts';

/** Rounds without the clock moving, after which a network is said never to settle. */
const ROUNDS_AT_ONE_INSTANT = 100_000;

export class DrivenNetworks {
  readonly #clock: Float64Array;
  readonly #drivers = new Map<number, VirtualDriver>();
  /** By place. */
  readonly #deadlines = new DeadlineHeap();
  #nextPlace = 0;
  /** Those that breathe in this round, and in the next one: places, the first to breathe last. */
  #round: number[] = [];
  #next: number[] = [];
  /** The place that breathes or was the last to, in this round; those behind it can still join it. -1: there is no round. */
  #breathing = -1;
  /** Rounds at this instant. */
  #rounds = 0;

  /** @param clock of the runtime: one cell, ns */
  constructor(clock: Float64Array) {
    this.#clock = clock;
  }

  add(network: Driven): Driver {
    const place = this.#nextPlace++;
    const driver: VirtualDriver = new VirtualDriver(
      network,
      () => this.#wake(place, driver),
      () => this.#remove(place, driver),
    );
    this.#drivers.set(place, driver);
    driver.wake();
    return driver;
  }

  /** When the next network must run, ns, or Infinity. */
  get earliest(): number {
    return this.#deadlines.first();
  }

  /** Wakes networks whose time has come. */
  wakeDue(): void {
    while (this.#deadlines.first() <= this.#clock[0]) this.#drivers.get(this.#deadlines.pop())!.wake();
  }

  /** Lets one network breathe. False: none is awake. @throws ERR_LOOP when there is no end to it at this instant */
  step(): boolean {
    if (this.#round.length === 0) {
      this.#breathing = -1;
      if (this.#next.length === 0) {
        this.#rounds = 0;
        return false;
      }
      if (++this.#rounds > ROUNDS_AT_ONE_INSTANT) {
        this.#rounds = 0;
        throw new TunconnectorError(
          'ERR_LOOP',
          `a network did not settle within ${ROUNDS_AT_ONE_INSTANT} rounds at ${this.#clock[0]} ns`,
          { remedy: 'look for a loop of links without a delay' },
        );
      }
      [this.#round, this.#next] = [this.#next, this.#round];
      if (this.#round.length > 1) this.#round.sort(lastFirst);
    }
    this.#breathing = this.#round.pop()!;
    this.#breathe(this.#breathing);
    return true;
  }

  #breathe(place: number): void {
    const driver = this.#drivers.get(place);
    if (!driver) return;
    const { network } = driver;
    driver.awake = false;
    let more: boolean;
    try {
      more = network.breathe();
    } catch (error) {
      network.fail(error);
      throw error;
    }
    const deadline = network.deadline[0];
    if (more || deadline <= this.#clock[0]) driver.wake();
    if (this.#drivers.has(place)) this.#deadlines.set(place, deadline);
  }

  #wake(place: number, driver: VirtualDriver): void {
    if (driver.awake) return;
    driver.awake = true;
    if (this.#breathing < 0 || place <= this.#breathing) {
      this.#next.push(place);
      return;
    }
    const round = this.#round;
    let at = round.length;
    while (at > 0 && round[at - 1]! < place) at--;
    round.splice(at, 0, place);
  }

  #remove(place: number, driver: VirtualDriver): void {
    driver.awake = true;
    this.#drivers.delete(place);
    this.#deadlines.remove(place);
  }
}

const lastFirst = (a: number, b: number): number => b - a;

class VirtualDriver implements Driver {
  /** It is in one of the lists, or gone. */
  awake = false;
  readonly network: Driven;
  readonly wake: () => void;
  readonly stop: () => void;

  constructor(network: Driven, wake: () => void, stop: () => void) {
    this.network = network;
    this.wake = wake;
    this.stop = stop;
  }

  watch(): Watch {
    throw new TunconnectorError('ERR_PLATFORM', 'a descriptor cannot be watched in virtual time', {
      remedy: 'use memory ports, or run the network live',
    });
  }
}
