/** A program that runs in the background of a throw-away host, with its output kept as text. */

import type { ChildProcess, StdioOptions } from 'node:child_process';
import { TunconnectorError } from '../errors.ts';
import { killGroup, missingCommand } from '../tun/system/live-command.ts';

export interface SpawnOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** As in node:child_process. Default 'pipe', which `stdout`, `stderr` and `waitFor` need. */
  stdio?: StdioOptions;
}

export interface ProcessEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class HostProcess implements AsyncDisposable {
  /** The Node child process, for its streams. */
  readonly child: ChildProcess;
  /** Settles when the process has ended and its output is complete. Never rejects. */
  readonly ended: Promise<ProcessEnd>;
  /** What it wrote so far. */
  stdout = '';
  stderr = '';
  readonly #argv: readonly string[];
  #end: ProcessEnd | undefined;
  /** Those in `waitFor` who want to look again. */
  readonly #waiting = new Set<() => void>();

  /** Use `host.spawn`. */
  constructor(child: ChildProcess, argv: readonly string[]) {
    this.child = child;
    this.#argv = argv;
    child.stdin?.on('error', () => {});
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.#wake();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      const settle = (end: ProcessEnd) => {
        this.#end ??= end;
        this.#wake();
        resolve(this.#end);
      };
      child.once('error', (error) => {
        this.stderr += missingCommand('nsenter', error).message;
        settle({ code: 127, signal: null });
      });
      child.once('close', (code, signal) => settle({ code, signal }));
    });
  }

  /** Process id of the program itself; undefined when it could not be started. */
  get pid(): number | undefined {
    return this.child.pid;
  }

  get running(): boolean {
    return this.#end === undefined;
  }

  /**
   * Waits until what it wrote to stdout or stderr matches. Throws ERR_COMMAND, with the output so far, when
   * the process ends first or `timeout` (ms, default 20 000) passes.
   */
  async waitFor(pattern: RegExp | string, timeout = 20_000): Promise<RegExpMatchArray> {
    const expression = typeof pattern === 'string' ? new RegExp(escapeRegExp(pattern)) : pattern;
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      this.#wake();
    }, timeout);
    try {
      for (;;) {
        const match = this.stdout.match(expression) ?? this.stderr.match(expression);
        if (match) return match;
        if (this.#end || expired) {
          const what = expired ? `did not write ${expression} within ${timeout} ms` : 'ended without it';
          throw new TunconnectorError(
            'ERR_COMMAND',
            `${this.#argv.join(' ')}: ${what} (stdout: ${this.stdout.trim()}, stderr: ${this.stderr.trim()})`,
          );
        }
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends a signal to the program alone. */
  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    this.child.kill(signal);
  }

  /** Asks it to end, kills its process group after `grace` ms (default 5000), and waits until it is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', grace = 5000): Promise<ProcessEnd> {
    if (this.running) this.kill(signal);
    const timer = setTimeout(() => killGroup(this.pid, 'SIGKILL'), grace);
    const end = await this.ended;
    clearTimeout(timer);
    return end;
  }

  #wake(): void {
    for (const look of this.#waiting) look();
    this.#waiting.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
