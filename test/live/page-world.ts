/// <reference lib="dom" />
/** An impaired link between two hosts, served by the real command, and a browser that sees its page. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { createWorld, type Host, type HostProcess } from '../../src/testing/index.ts';
import { BIN } from './cli-world.ts';

export const FAR = '10.9.0.2';
const LOAD = fileURLToPath(new URL('fixtures/udp-load.mjs', import.meta.url));

export class PageWorld implements AsyncDisposable {
  readonly near: Host;
  readonly middle: Host;
  readonly far: Host;
  /** The command; another one when it was started again. */
  command: HostProcess;
  readonly url: string;
  readonly directory: string;
  #echo: HostProcess | undefined;
  readonly #browser: Browser;
  readonly #words: readonly string[];
  readonly #close: () => Promise<void>;
  /** What the pages had to complain about: errors, what the content policy forbade, requests that failed. */
  readonly complaints: string[] = [];

  /** @param words for the command, behind the interfaces */
  static async open(words: readonly string[]): Promise<PageWorld> {
    const directory = await mkdtemp(path.join(tmpdir(), 'tunconnector-page-'));
    const world = await createWorld({ name: 'page' });
    const [near, middle, far] = (await Promise.all(
      ['near', 'middle', 'far'].map((name) => world.host(name)),
    )) as [Host, Host, Host];
    await world.wire(near, middle, { a: '10.9.0.1/24', names: { b: 'left' } });
    await world.wire(far, middle, { a: `${FAR}/24`, names: { b: 'right' } });
    const command = await start(middle, words);
    // The page is served on the loopback of that host, and there the browser is.
    const program = path.join(directory, 'chromium');
    const argv = middle.command(['chromium', '"$@"']).join(' ');
    await writeFile(program, `#!/bin/sh\nexec ${argv}\n`);
    await chmod(program, 0o755);
    const browser = await chromium.launch({
      executablePath: program,
      args: ['--no-sandbox', '--js-flags=--expose-gc', '--enable-precise-memory-info'],
    });
    const close = async () => {
      await browser.close();
      await world.close();
      await rm(directory, { recursive: true });
    };
    return new PageWorld({ near, middle, far }, command, words, directory, browser, close);
  }

  private constructor(
    hosts: { near: Host; middle: Host; far: Host },
    command: HostProcess,
    words: readonly string[],
    directory: string,
    browser: Browser,
    close: () => Promise<void>,
  ) {
    this.near = hosts.near;
    this.middle = hosts.middle;
    this.far = hosts.far;
    this.command = command;
    this.#words = words;
    this.directory = directory;
    this.#browser = browser;
    this.#close = close;
    this.url = 'http://127.0.0.1:7580/';
  }

  /** The page in a window of its own, connected. */
  async page(query = '', options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
    const context = await this.#browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
    const page = await context.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    await page.goto(this.url + query);
    await page.waitForSelector('#connection[data-state="live"]');
    await page.waitForFunction(() => document.querySelector('#about')?.textContent !== '');
    return page;
  }

  /** Asks the server, as other programs would. */
  async ask<T>(api: string, ...curl: string[]): Promise<T> {
    const argv = ['curl', '-sS', '--max-time', '5', ...curl, `${this.url}api/v1/${api}`];
    const { stdout } = await this.middle.exec(argv, { check: true });
    return JSON.parse(stdout) as T;
  }

  /** Datagrams from near to far, each way if `echo`. */
  async load({ ports = 1, rate = 200, echo = false } = {}): Promise<HostProcess> {
    if (echo && !this.#echo) {
      this.#echo = this.far.node(LOAD, ['echo']);
      await this.#echo.waitFor('ready');
    }
    const load = this.near.node(LOAD, [FAR, `${ports}`, `${rate}`]);
    await load.waitFor('sent', 30_000);
    return load;
  }

  /** Round trips, ms, of the pings that were answered. */
  async pings(count = 3): Promise<number[]> {
    const argv = ['ping', '-n', '-c', `${count}`, '-i', '0.1', '-W', '2', FAR];
    const { stdout } = await this.near.exec(argv);
    return [...stdout.matchAll(/ time=([\d.]+) ms/g)].map((found) => Number(found[1]));
  }

  async restart(): Promise<void> {
    await this.command.stop('SIGINT', 20_000);
    this.command = await start(this.middle, this.#words);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}

async function start(middle: Host, words: readonly string[]): Promise<HostProcess> {
  const command = middle.node(BIN, ['impair', 'left', 'right', ...words, '--serve', '127.0.0.1:7580']);
  await command.waitFor('are joined', 10_000);
  return command;
}

/** What is put in force, as soon as it is. */
export async function applied(page: Page): Promise<void> {
  const before = await page.textContent('#about');
  await page.click('#apply');
  await page.waitForFunction((text) => document.querySelector('#about')?.textContent !== text, before);
}

/** Live values of a figure, `↑ 4.8 Mbit/s`, as text. */
export const figure = (page: Page, title: string, way: 'up' | 'down') =>
  page.textContent(`.chart:has(h3:text-is("${title}")) .value.${way}`);

/** An element of the tree that assistive technology sees. */
export interface AccessibleNode {
  role: string;
  name: string;
}

export async function accessibleNodes(page: Page): Promise<AccessibleNode[]> {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  await session.detach();
  return nodes
    .filter(({ ignored }) => !ignored)
    .map(({ role, name }) => ({ role: String(role?.value), name: String(name?.value ?? '') }));
}

/** Bytes of JavaScript objects after a collection. */
export async function heapOf(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  await session.detach();
  return usedSize;
}

export const noComplaints = (world: PageWorld) => expect(world.complaints.splice(0)).toEqual([]);
