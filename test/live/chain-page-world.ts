/// <reference lib="dom" />
/** The command `roulette`, members that tell it of packets, and a browser that sees its page. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { RouletteClient } from '../../src/control/client/roulette.ts';
import { BIN } from './cli-world.ts';

export const TENANT = 42;

export interface PageOptions {
  /** What the browser asks for, behind the slash. */
  query?: string;
  context?: Parameters<Browser['newContext']>[0];
  /** Waits until the page shows what there is. */
  ready?: boolean;
}

export class ChainPageWorld implements AsyncDisposable {
  readonly url: string;
  readonly client: RouletteClient;
  /** What the pages had to complain about: errors, what the content policy forbade, requests that failed. */
  readonly complaints: string[] = [];
  #command: ChildProcess;
  readonly #argv: readonly string[];
  readonly #browser: Browser;
  readonly #folder: string;
  readonly #members = new Set<Member>();

  static async open(tokens?: Record<string, number[] | 'all'>): Promise<ChainPageWorld> {
    const folder = await mkdtemp(path.join(tmpdir(), 'tunconnector-chain-page-'));
    const argv = ['--store', path.join(folder, 'store')];
    if (tokens) {
      const file = path.join(folder, 'tokens.yaml');
      await writeFile(file, JSON.stringify(tokens), { mode: 0o600 });
      argv.push('--tokens', file);
    }
    const { command, url } = await start(['--listen', '127.0.0.1:0', ...argv]);
    const browser = await chromium.launch({ executablePath: 'chromium', args: ['--no-sandbox'] }).catch(
      // Playwright takes no name from the PATH.
      () => chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] }),
    );
    const token = tokens && Object.keys(tokens)[0];
    const client = new RouletteClient({ url, tenant: TENANT, ...(token !== undefined && { token }) });
    return new ChainPageWorld(url, client, command, argv, browser, folder);
  }

  private constructor(
    url: string,
    client: RouletteClient,
    command: ChildProcess,
    argv: readonly string[],
    browser: Browser,
    folder: string,
  ) {
    this.url = url;
    this.client = client;
    this.#command = command;
    this.#argv = argv;
    this.#browser = browser;
    this.#folder = folder;
  }

  /** A shop with two functions, a chain of both, and a replica for each id. */
  async set(functions: Record<string, readonly number[]>): Promise<Map<number, Member>> {
    const { client } = this;
    await client.putTenant({ description: 'a shop' });
    const members = new Map<number, Member>();
    for (const [name, ids] of Object.entries(functions)) {
      if (name !== 'ingress' && name !== 'egress') await client.putFunction(name);
      for (const id of ids) members.set(id, await this.member(name, id));
    }
    return members;
  }

  /** One that keeps its lease, and says with it that so many packets of 1250 bytes pass in a second. */
  async member(of: string, id: number, rate = 1000, spi = 7): Promise<Member> {
    const member = await Member.start(this.client, of, id, rate, spi);
    this.#members.add(member);
    return member;
  }

  async page({ query = '', context = {}, ready = true }: PageOptions = {}): Promise<Page> {
    const opened = await this.#browser.newContext({ viewport: { width: 1440, height: 900 }, ...context });
    const page = await opened.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    await page.goto(this.url + query);
    if (ready) await shown(page);
    return page;
  }

  /** As if the program died, and was started again at the same place. */
  async kill(): Promise<void> {
    for (const each of this.#members) each.pause();
    this.#command.kill('SIGKILL');
    await once(this.#command, 'exit');
  }

  async startAgain(): Promise<void> {
    const { host } = new URL(this.url);
    this.#command = (await start(['--listen', host, ...this.#argv])).command;
    for (const each of this.#members) each.goOn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#members) each.pause();
    await this.#browser.close();
    this.#command.kill('SIGKILL');
    if (this.#command.exitCode === null && this.#command.signalCode === null)
      await once(this.#command, 'exit');
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export async function shown(page: Page): Promise<void> {
  await page.waitForSelector('#connection[data-state="live"]');
  await page.waitForFunction(() => /registry revision/.test(document.querySelector('#about')!.textContent!));
}

async function start(argv: readonly string[]): Promise<{ command: ChildProcess; url: string }> {
  const command = spawn(process.execPath, [BIN, 'roulette', '--json', ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  command.stdout!.on('data', (text) => {
    said += text;
  });
  for (let i = 0; i < 1500 && !said.includes('"up"') && command.exitCode === null; i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return { command, url: `${JSON.parse(said.split('\n')[0]!).url}/` };
}

/** A replica as Roulette sees it: a lease that is kept. */
export class Member {
  readonly id: number;
  /** Packets a second. */
  rate: number;
  /** Whether it says what passes. */
  tells = true;
  readonly #client: RouletteClient;
  readonly #lease: string;
  readonly #spi: number;
  #packets = 0;
  #time = performance.now();
  #timer: ReturnType<typeof setInterval> | undefined;

  static async start(
    client: RouletteClient,
    of: string,
    id: number,
    rate: number,
    spi: number,
  ): Promise<Member> {
    const { lease } = await client.request<{ lease: string }>('lease.grant', { term: '30s' });
    const place = { address: `10.0.0.${id}`, port: 4790 };
    await client.request('replica.put', { id, function: of, lease, ...place });
    return new Member(client, id, lease, rate, spi);
  }

  private constructor(client: RouletteClient, id: number, lease: string, rate: number, spi: number) {
    this.#client = client;
    this.id = id;
    this.#lease = lease;
    this.rate = rate;
    this.#spi = spi;
    this.goOn();
  }

  pause(): void {
    clearInterval(this.#timer);
  }

  goOn(): void {
    this.#timer = setInterval(() => void this.#keep().catch(() => {}), 300);
  }

  /** The lease ends, and the replica with it. */
  async end(): Promise<void> {
    this.pause();
    await this.#client.request('lease.end', { lease: this.#lease });
  }

  async #keep(): Promise<void> {
    const now = performance.now();
    this.#packets += Math.round(((now - this.#time) / 1000) * this.rate);
    this.#time = now;
    const packets = this.#packets;
    const passing = {
      packetsIn: packets,
      bytesIn: 1250 * packets,
      packetsOut: packets,
      bytesOut: 125 * packets,
    };
    const chains = [{ spi: this.#spi, ...passing }];
    const figures = [{ replica: this.id, time: Math.round(now * 1e6), ...passing, drops: 0, chains }];
    await this.#client.request('lease.keep', { lease: this.#lease, ...(this.tells && { figures }) });
  }
}

export const noComplaints = (world: ChainPageWorld) => expect(world.complaints.splice(0)).toEqual([]);
