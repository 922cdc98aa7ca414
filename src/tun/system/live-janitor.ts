/** Starts the janitor (live-janitor-child.ts) and talks to it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, TunconnectorError } from '../../errors.ts';
import { killGroup, missingCommand, systemEnvironment } from './live-command.ts';
import type { RouteSpec } from './live-ip.ts';

export type JanitorRequest =
  | { op: 'addRoute'; route: RouteSpec }
  | { op: 'removeRoute'; route: RouteSpec }
  | { op: 'moveRoute'; from: RouteSpec; to: RouteSpec }
  | { op: 'enableForwarding'; families: readonly (4 | 6)[] }
  | { op: 'masquerade'; prefixes: readonly string[]; except: string }
  | { op: 'adopt'; file: string }
  | { op: 'watchRoutes' }
  | { op: 'undo' };

export type JanitorReply =
  | { id: number; result?: unknown }
  | { id: number; error: { code: ErrorCode; message: string; remedy?: string; errno?: string } }
  | { event: 'routes' };

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** More than the child's own limits on the programs it runs (10 s). */
const ANSWER_LIMIT_MS = 15_000;

/** Node runs no TypeScript before version 22, so from the sources the compiled child is used. */
const CHILD = fileURLToPath(
  import.meta.url.endsWith('.ts')
    ? new URL('../../../dist/tun/system/live-janitor-child.js', import.meta.url)
    : new URL('./live-janitor-child.js', import.meta.url),
);

export class Janitor {
  readonly pid: number | undefined;
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  readonly #ended: Promise<void>;
  #running = true;
  #next = 1;

  /** Starts it in the network namespace at a path, or in this process's. */
  constructor(options: { netns?: string; onRoutes?: () => void } = {}) {
    const argv = [process.execPath, CHILD];
    const [program, ...args] = options.netns ? ['nsenter', `--net=${options.netns}`, '--', ...argv] : argv;
    this.#child = spawn(program!, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
      cwd: '/',
      env: systemEnvironment({
        PATH: process.env.PATH,
        XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR,
        LC_ALL: 'C',
      }),
    });
    this.pid = this.#child.pid;
    this.#child.stdin!.on('error', () => {});
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const reply = JSON.parse(line) as JanitorReply;
      if ('event' in reply) options.onRoutes?.();
      else this.#settle(reply);
    });
    this.#ended = new Promise((resolve) => {
      const end = (error: Error) => {
        this.#running = false;
        for (const pending of this.#pending.values()) pending.reject(error);
        this.#pending.clear();
        resolve();
      };
      this.#child.once('error', (error) => end(missingCommand(program!, error)));
      this.#child.once('close', () => {
        end(
          new TunconnectorError('ERR_COMMAND', 'the process that makes and undoes system changes has ended'),
        );
      });
    });
    this.#reference(false);
  }

  /** False once it has ended, also when somebody killed it. */
  get running(): boolean {
    return this.#running;
  }

  request(request: JanitorRequest): Promise<unknown> {
    if (!this.#running) {
      return Promise.reject(
        new TunconnectorError('ERR_COMMAND', 'the process that makes and undoes system changes has ended'),
      );
    }
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const what = `system changes: ${request.op} did not end within ${ANSWER_LIMIT_MS} ms`;
        this.#settle({ id, error: { code: 'ERR_COMMAND', message: what } });
      }, ANSWER_LIMIT_MS);
      const done = () => {
        clearTimeout(timer);
        if (this.#pending.size === 0) this.#reference(false);
      };
      this.#pending.set(id, {
        resolve: (result) => {
          done();
          resolve(result);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      this.#reference(true);
      this.#child.stdin!.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  /** Ends it; whatever is not undone yet is undone by the time this returns. */
  async close(): Promise<void> {
    if (this.#running) this.#reference(true);
    this.#child.stdin!.end();
    const timer = setTimeout(() => killGroup(this.pid, 'SIGKILL'), ANSWER_LIMIT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  #settle(reply: Exclude<JanitorReply, { event: string }>): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (!pending) return;
    if (!('error' in reply)) pending.resolve(reply.result);
    else {
      const { code, message, remedy, errno } = reply.error;
      const suffix = remedy ? `; ${remedy}` : '';
      pending.reject(
        new TunconnectorError(code, message.slice(0, message.length - suffix.length), { remedy, errno }),
      );
    }
  }

  /** An idle janitor does not keep its command alive: when that ends, the janitor does its work. */
  #reference(on: boolean): void {
    const method = on ? 'ref' : 'unref';
    this.#child[method]();
    for (const stream of [this.#child.stdin, this.#child.stdout]) {
      (stream as unknown as { ref(): void; unref(): void } | null)?.[method]();
    }
  }
}
