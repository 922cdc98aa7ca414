/** `tunconnector top [NAME]`: what passes on every link of the networks that run, in the terminal, as top(1) shows programs. */
import { Command } from 'commander';
import { TunconnectorError } from '../../errors.ts';
import type { ConnectFlags } from '../chain/connect.ts';
import { Exit, usageError } from '../exit.ts';
import { Pace } from './pace.ts';
import { type Line, picture, type View, within } from './picture.ts';
import { type Display, type Keyboard, Screen } from './screen.ts';
import { type Look, WatchedNetworks } from './watched.ts';

interface Options extends Omit<ConnectFlags, 'roulette'> {
  roulette?: string | true;
  interval?: string;
  once?: boolean;
  json?: boolean;
}

/** What is of no use without Roulette. */
const OF_ROULETTE = { tenant: '--tenant', tokenFile: '--token-file', ca: '--ca' } as const;

/** What it writes to and reads from. */
export interface Terminal {
  output: Display;
  input: Keyboard;
}

/** How it is shown. */
export interface Showing {
  /** ms */
  interval: number;
  once: boolean;
  json: boolean;
}

const showing = ({ interval = '1', once = false, json = false }: Options): Showing => ({
  interval: secondsOf(interval) * 1000,
  once,
  json,
});

/** How long a network may take to answer before the others are shown without it, ms. */
const LOOK_LIMIT = 1000;
/** Where lines go to a file or a pipe, columns. */
export const PLAIN_WIDTH = 100;

/** @param done receives the exit code when the command has ended */
export function topCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
  terminal: Terminal = { output: process.stdout, input: process.stdin },
): Command {
  return new Command('tunconnector top')
    .description(
      'Shows running networks, link by link: what passes, what waits, what is dropped and why; or the chains of Roulette.',
    )
    .argument(
      '[name]',
      'one of them (a tunnel is called like its interface); all of this user when not given',
    )
    .option('--interval <seconds>', 'how often (default: 1)')
    .option('--once', 'one picture, of one interval')
    .option('--json', 'one JSON object per line, network and interval')
    .option(
      '--roulette [urls]',
      'chains and their replicas in place of networks ($TUNCONNECTOR_ROULETTE, loopback)',
    )
    .option('--tenant <number>', 'whose chains; not needed if there is one tenant')
    .option('--token-file <file>', 'the token to show to Roulette; TUNCONNECTOR_TOKEN does as well')
    .option('--ca <file>', 'authority that signed Roulette’s certificate, PEM')
    .addHelpText(
      'after',
      `
Keys: q quits, space looks at once, arrows and pages scroll.
On a terminal the first picture has the rates since the start of each network.

Examples:
  tunconnector top
  tunconnector top tun0 --interval 0.5
  tunconnector top tun0 --once
  tunconnector top --roulette http://10.9.0.1:7590 --tenant 42
  tunconnector top --json | jq '.links[] | {link, bitsPerSecond}'`,
    )
    .action(async (name: string | undefined, options: Options) => {
      if (options.roulette !== undefined) {
        if (name !== undefined)
          throw usageError(`top: found "${name}" with --roulette`, 'leave one of them out');
        const { topOfChains } = await import('./chains-top.ts');
        const roulette = options.roulette === true ? {} : { roulette: options.roulette };
        done(await topOfChains({ ...options, ...roulette } as ConnectFlags, showing(options), terminal));
        return;
      }
      for (const [key, flag] of Object.entries(OF_ROULETTE))
        if (options[key as keyof typeof OF_ROULETTE] !== undefined)
          throw usageError(`${flag} has no effect without --roulette`, 'say where Roulette is');
      done(await new Top(name, showing(options), terminal).run());
    });
}

class Top {
  readonly #name: string | undefined;
  /** ms */
  readonly #interval: number;
  readonly #once: boolean;
  readonly #json: boolean;
  readonly #terminal: Terminal;
  readonly #pace = new Pace();
  #screen: Screen | undefined;
  #note = '';

  constructor(name: string | undefined, { interval, once, json }: Showing, terminal: Terminal) {
    this.#name = name;
    this.#interval = interval;
    this.#once = once;
    this.#json = json;
    this.#terminal = terminal;
  }

  async run(): Promise<number> {
    const { output, input } = this.#terminal;
    await using networks = new WatchedNetworks(this.#name);
    await networks.begin();
    const stop = () => this.#pace.stop();
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const signal of signals) process.on(signal, stop);
    // The reader of a pipe has left, or the terminal is gone.
    output.on('error', stop);
    if (isMoving(output, { once: this.#once, json: this.#json }))
      this.#screen = new Screen(output, input, { quit: stop, refresh: () => this.#pace.hurry() });
    let gone: string[] = [];
    try {
      gone = await this.#watch(networks);
    } finally {
      this.#screen?.close();
      for (const signal of signals) process.off(signal, stop);
      output.off('error', stop);
    }
    if (this.#screen) for (const name of gone) output.write(`${endedText(name)}\n`);
    return Exit.ok;
  }

  /** Until somebody stops it, or there is nothing left to be watched. Returns the names of those that ended last. */
  async #watch(networks: WatchedNetworks): Promise<string[]> {
    let shown = false;
    // Rates are of the time between two looks; on a terminal something is to be seen at once.
    for (let looks = 1; ; looks++) {
      const look = await this.#look(networks);
      if (this.#pace.stopped) return [];
      for (const name of look.ended) this.#tellEnd(name);
      if (look.views.length === 0) {
        if (shown || !this.#once) return look.ended;
        throw new TunconnectorError('ERR_CLOSED', `${look.ended.map(endedText).join(', ')}`);
      }
      if (this.#screen || looks > 1) {
        this.#show(look);
        shown = true;
      }
      if (this.#once && shown) {
        if (look.views.some(({ rates }) => rates)) return [];
        throw new TunconnectorError('ERR_CLOSED', 'no network answers', { remedy: 'is it stopped?' });
      }
      await this.#pace.wait(this.#interval);
      if (this.#pace.stopped) return [];
    }
  }

  async #look(networks: WatchedNetworks): Promise<Look> {
    const limit = this.#pace.wait(LOOK_LIMIT);
    const look = await networks.look(limit);
    this.#pace.hurry();
    return look;
  }

  #tellEnd(name: string): void {
    if (this.#json) this.#event('ended', { network: name });
    else if (this.#screen) this.#note = `${endedText(name)} at ${clock()}`;
    else this.#terminal.output.write(`${endedText(name)}\n`);
  }

  #show({ views, fresh }: Look): void {
    const { output } = this.#terminal;
    if (this.#json) {
      for (const view of views) this.#event(...asEvent(view, fresh.has(view.name)));
    } else if (this.#screen) {
      const [note, time] = [this.#note, clock()];
      this.#screen.show((width) => [header(views, note, time, width), ...pictures(views, width)]);
    } else {
      const width = output.isTTY ? output.columns || PLAIN_WIDTH : PLAIN_WIDTH;
      const text = pictures(views, width).map((line) => line.text);
      output.write(`${[...(this.#once ? [] : [clock()]), ...text].join('\n')}\n`);
    }
  }

  #event(event: string, details: object): void {
    const line = { time: new Date().toISOString(), event, ...details };
    this.#terminal.output.write(`${JSON.stringify(line)}\n`);
  }
}

/** Whether there is one picture that changes, and not line after line. */
export const isMoving = (output: Display, { once, json }: Pick<Showing, 'once' | 'json'>): boolean =>
  output.isTTY === true && process.env.TERM !== 'dumb' && !once && !json;

function asEvent({ name, rates, silent }: View, fresh: boolean): [event: string, details: object] {
  if (!rates || !fresh) return ['silent', { network: name, seconds: silent / 1000 }];
  return ['rates', { network: name, ...rates }];
}

function header(views: readonly View[], note: string, time: string, width: number): Line {
  return headLine(views.length === 1 ? '1 network' : `${views.length} networks`, note, time, width);
}

export function headLine(what: string, note: string, time: string, width: number): Line {
  const left = ['tunconnector top', what, note].filter(Boolean).join(', ');
  const right = `q quits  ${time}`;
  if (left.length + right.length + 2 > width) return { text: within(left, width) };
  return { text: left + right.padStart(width - left.length) };
}

/** One after the other, with a line between them. */
function pictures(views: readonly View[], width: number): Line[] {
  return views.flatMap((view, i) => [...(i > 0 ? [{ text: '' }] : []), ...picture(view, width)]);
}

const endedText = (name: string) => `${name} has ended`;
export const clock = () => new Date().toTimeString().slice(0, 8);

function secondsOf(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value >= 0.1 && value <= 3600) return value;
  throw usageError(`--interval: found "${text}", expected seconds, 0.1 to 3600`);
}
