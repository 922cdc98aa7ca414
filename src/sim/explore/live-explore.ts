/**
 * A search in several processes at once. Each takes one seed after the other; what comes back is put in the order of the seeds, so that the result is
 * the same for any number of processes. One that dies, whatever of, is a failure of the seed that it was at.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { TunconnectorError } from '../../errors.ts';
import type { Fault } from '../faults/faults.ts';
import type { Exploration, ExploreOptions, FoundFailure } from './explore.ts';
import type { FromRunner, ScenarioModule, ToRunner } from './messages.ts';

export type { ScenarioModule } from './messages.ts';

export interface ExploreModuleOptions extends ExploreOptions {
  /** Processes; default: as many as there are processors. At most 64. */
  workers?: number;
  /** Seeds that are done, in whatever order; for somebody who waits. */
  onProgress?(done: number): void;
  /** Ends all processes; what was found so far is the result. */
  signal?: AbortSignal;
}

export const MOST_WORKERS = 64;
/** Results that wait for an earlier seed. */
const AHEAD = 4096;
/** Of what a process says before it dies: characters. */
const LAST_WORDS = 2048;
/** From the sources it is the built file, as for other processes. */
const RUNNER = import.meta.url.endsWith('.ts')
  ? new URL('../../../dist/sim/explore/live-runner.js', import.meta.url)
  : new URL('./live-runner.js', import.meta.url);

interface Outcome {
  events: number;
  failure: FoundFailure | undefined;
}

/**
 * `explore` in several processes. The scenario is named by a module, for each of them makes it anew.
 *
 * @param scenario module URL, export and options; its seeds run in processes of their own
 * @throws ERR_CONFIG for a scenario that does not load or does not fit
 * @example
 * const { failures } = await exploreModule(
 *   { module: new URL('./scenario.mjs', import.meta.url).href, options: { hosts: 4 } },
 *   { seeds: range(1, 10_000), workers: 8 },
 * );
 */
export function exploreModule(scenario: ScenarioModule, options: ExploreModuleOptions): Promise<Exploration> {
  return new Search(scenario, options).run();
}

class Search {
  readonly #scenario: ScenarioModule;
  readonly #options: ExploreModuleOptions;
  readonly #most: number;
  readonly #seeds: Iterator<number>;
  readonly #runners = new Set<Runner>();
  /** Of places in the order of the seeds, those that are done before an earlier one. */
  readonly #outcomes = new Map<number, Outcome & { seed: number }>();
  /** Places of seeds that fail. */
  readonly #failing: number[] = [];
  readonly #found: Exploration = { runs: 0, events: 0, failures: [] };
  #next = 0;
  #done = 0;
  #isEmpty = false;
  #end!: { resolve(found: Exploration): void; reject(error: Error): void };

  constructor(scenario: ScenarioModule, options: ExploreModuleOptions) {
    this.#scenario = scenario;
    this.#options = options;
    this.#most = options.failures ?? 1;
    this.#seeds = options.seeds[Symbol.iterator]();
  }

  async run(): Promise<Exploration> {
    const { workers = availableParallelism(), signal } = this.#options;
    if (!Number.isInteger(workers) || workers < 1 || workers > MOST_WORKERS)
      throw new TunconnectorError('ERR_CONFIG', `workers: found ${workers}, expected 1 to ${MOST_WORKERS}`);
    if (signal?.aborted) return this.#found;
    const stop = () => this.#end.resolve(this.#found);
    try {
      return await new Promise<Exploration>((resolve, reject) => {
        this.#end = { resolve, reject };
        signal?.addEventListener('abort', stop);
        for (let n = 0; n < workers; n++) this.#start();
      });
    } finally {
      signal?.removeEventListener('abort', stop);
      await Promise.all([...this.#runners].map((runner) => runner.kill()));
      this.#seeds.return?.();
    }
  }

  #start(): void {
    const { shrink = true, tries = 200 } = this.#options;
    const runner = new Runner(this.#scenario, shrink ? tries : 0, {
      onReady: () => this.#give(runner),
      onFailing: (place) => this.#fails(place),
      onOutcome: (place, seed, outcome) => this.#take(runner, place, seed, outcome),
      onDead: (place, seed, outcome) => {
        this.#runners.delete(runner);
        if (outcome.failure) this.#fails(place);
        this.#take(undefined, place, seed, outcome);
        this.#start();
      },
      onError: (error) => this.#end.reject(error),
    });
    this.#runners.add(runner);
  }

  /** The next seed, unless what was found already is enough, or comes before it. */
  #give(runner: Runner): void {
    const enough = this.#failing.length >= this.#most && this.#next > this.#failing[this.#most - 1]!;
    if (this.#isEmpty || enough || this.#outcomes.size >= AHEAD) {
      runner.waits = true;
      this.#settle();
      return;
    }
    const { value, done } = this.#seeds.next();
    if (done) {
      this.#isEmpty = true;
      this.#give(runner);
    } else {
      runner.waits = false;
      runner.run(this.#next++, value);
    }
  }

  #fails(place: number): void {
    // One that died while a smaller script was looked for is known already.
    if (this.#failing.includes(place)) return;
    this.#failing.push(place);
    this.#failing.sort((a, b) => a - b);
  }

  #take(runner: Runner | undefined, place: number, seed: number, outcome: Outcome): void {
    this.#outcomes.set(place, { seed, ...outcome });
    this.#options.onProgress?.(++this.#done);
    this.#tell();
    if (runner) this.#give(runner);
    for (const each of this.#runners) if (each.waits && this.#outcomes.size < AHEAD) this.#give(each);
  }

  /** In the order of the seeds. */
  #tell(): void {
    const { runs, failures } = this.#found;
    const next = failures.length >= this.#most ? undefined : this.#outcomes.get(runs);
    if (!next) return;
    this.#outcomes.delete(runs);
    this.#found.runs++;
    this.#found.events += next.events;
    if (next.failure) failures.push(next.failure);
    this.#options.onRun?.(next.seed, next.failure);
    this.#tell();
  }

  #settle(): void {
    const isEnough = this.#found.failures.length >= this.#most;
    if (isEnough || (this.#isEmpty && this.#found.runs === this.#next)) this.#end.resolve(this.#found);
  }
}

interface RunnerEvents {
  onReady(): void;
  onFailing(place: number): void;
  onOutcome(place: number, seed: number, outcome: Outcome): void;
  onDead(place: number, seed: number, outcome: Outcome): void;
  onError(error: Error): void;
}

class Runner {
  readonly #child: ChildProcess;
  readonly #events: RunnerEvents;
  #at: { place: number; seed: number; drawn: readonly Fault[] } | undefined;
  #ready = false;
  #killed = false;
  #said = '';
  readonly #exit: Promise<void>;
  /** It has nothing to do. */
  waits = false;

  constructor(scenario: ScenarioModule, tries: number, events: RunnerEvents) {
    this.#events = events;
    // What programs print is not the result.
    const stdio: ('ignore' | 'pipe' | 'ipc')[] = ['ignore', 'pipe', 'pipe', 'ipc'];
    this.#child = fork(RUNNER, [], { serialization: 'advanced', stdio });
    this.#child.stdout!.pipe(process.stderr, { end: false });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-LAST_WORDS);
      process.stderr.write(text);
    });
    this.#child.on('message', (message: FromRunner) => this.#receive(message));
    this.#child.on('error', (error) => events.onError(error));
    this.#exit = new Promise((resolve) => {
      this.#child.on('close', (code, signal) => {
        resolve();
        this.#ended(signal ?? `exit code ${code}`);
      });
    });
    this.#send({ scenario, tries });
  }

  run(place: number, seed: number): void {
    this.#at = { place, seed, drawn: [] };
    this.#send({ seed });
  }

  kill(): Promise<void> {
    this.#killed = true;
    this.#child.kill('SIGKILL');
    return this.#exit;
  }

  #send(message: ToRunner): void {
    // One that has died meanwhile says so by its end.
    this.#child.send(message, () => {});
  }

  #receive(message: FromRunner): void {
    if (this.#killed) return;
    const at = this.#at;
    if ('refused' in message) {
      const { code, message: text } = message.refused;
      this.#events.onError(code ? new TunconnectorError(code, text) : new Error(text));
    } else if ('ready' in message) {
      this.#ready = true;
      this.#events.onReady();
    } else if (!at) return;
    else if ('drawn' in message) at.drawn = message.drawn;
    else if ('failing' in message) this.#events.onFailing(at.place);
    else {
      this.#at = undefined;
      this.#events.onOutcome(at.place, at.seed, message);
    }
  }

  #ended(how: string): void {
    if (this.#killed) return;
    const last = this.#said.trim().split('\n').at(-1);
    const why = `its process has ended: ${how}${last ? `, ${last}` : ''}`;
    if (!this.#ready || !this.#at) {
      this.#events.onError(new TunconnectorError('ERR_COMMAND', `a search: ${why}`));
      return;
    }
    const { place, seed, drawn } = this.#at;
    const nowhere = { at: 0, event: 0, host: undefined };
    const failure = { seed, error: new Error(why), ...nowhere, faults: drawn, drawn, tries: 0 };
    this.#events.onDead(place, seed, { events: 0, failure });
  }
}
