import { EventEmitter } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { picture, type View } from '../../src/cli/top/picture.ts';
import { ratesOf } from '../../src/cli/top/rates.ts';
import { topCommand } from '../../src/cli/top/top.ts';
import type { App, Ports } from '../../src/engine/app.ts';
import { Network } from '../../src/engine/network.ts';
import { reason } from '../../src/engine/reasons.ts';
import type { NetworkReport } from '../../src/engine/report.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { serveControl } from '../../src/tun/control/live-server.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

let base: string;
const runtimeDirectory = process.env.XDG_RUNTIME_DIR;
beforeEach(() => {
  base = mkdtempSync(path.join(tmpdir(), 'tunconnector-top-'));
  process.env.XDG_RUNTIME_DIR = base;
});
afterEach(() => {
  if (runtimeDirectory === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = runtimeDirectory;
  rmSync(base, { recursive: true });
});

const memory = { smallSlots: 1000, smallUsed: 12, largeSlots: 100, largeUsed: 0, livePackets: 12 };
const report = (time: number, packets: number, more: Partial<NetworkReport> = {}): NetworkReport => ({
  time,
  breaths: 1,
  links: [
    {
      link: 'tun.out -> up.in',
      layer: 'L3',
      packets,
      bits: 8000 * packets,
      dropped: packets / 10,
      waiting: 3,
    },
  ],
  apps: [
    { app: 'up', packetsPerBreath: 1, drops: { loss: packets / 2 }, lingering: false, report: { held: 5 } },
    { app: 'tun', packetsPerBreath: 1, drops: {}, lingering: false, report: { rxNoMemory: packets / 4 } },
  ],
  formerDrops: {},
  memory,
  ...more,
});

describe('rates', () => {
  it('are of the time between two looks, on the clock of the network', () => {
    const { seconds, links, apps } = ratesOf(report(4e9, 300), report(2e9, 100));
    expect(seconds).toBe(2);
    expect(links).toEqual([
      {
        link: 'tun.out -> up.in',
        layer: 'L3',
        packetsPerSecond: 100,
        bitsPerSecond: 800_000,
        waiting: 3,
        full: 30,
        fullPerSecond: 10,
      },
    ]);
    expect(apps).toEqual([
      { app: 'up', held: 5, drops: { loss: 150 }, dropped: 150, droppedPerSecond: 50 },
      { app: 'tun', held: 0, drops: { 'no-memory': 75 }, dropped: 75, droppedPerSecond: 25 },
    ]);
  });

  it('are of all the time where there was no look before', () => {
    expect(ratesOf(report(4e9, 400)).links[0]!.packetsPerSecond).toBe(100);
  });

  it('are never negative: what was taken out and put in again begins anew', () => {
    expect(ratesOf(report(4e9, 10), report(2e9, 100)).links[0]).toMatchObject({ packetsPerSecond: 0 });
  });

  it('have the drops of apps that are gone', () => {
    const { apps } = ratesOf(report(4e9, 0, { formerDrops: { 'link-full': 7 } }));
    expect(apps.at(-1)).toMatchObject({ app: '(gone)', dropped: 7, drops: { 'link-full': 7 } });
  });
});

describe('the picture of a network', () => {
  const view: View = { name: 'tun0', rates: ratesOf(report(4e9, 3000), report(2e9, 1000)), silent: 0 };
  const text = (width: number, of = view) => picture(of, width).map((line) => line.text);

  it('has links with their rates, apps with their reasons, and the memory', () => {
    expect(text(80)).toEqual([
      'tun0   memory: 12 of 1 000 small, 0 of 100 large',
      `  link${'bits'.padStart(42)}      packets  waiting      full`,
      `  tun.out -> up.in${'8.0 Mbit/s'.padStart(30)}   1.0 kpkt/s        3       300`,
      '  app             held  drops/s    dropped   reasons',
      '  up                 5      500      1 500   loss 1 500',
      '  tun                       250        750   no-memory 750',
    ]);
  });

  it.each([200, 80, 61, 60, 50, 40, 30, 20, 10, 1])('fits into %i columns', (width) => {
    for (const line of text(width)) expect(line.length).toBeLessThanOrEqual(width);
  });

  it('keeps the link and its bit rate where it is narrow', () => {
    expect(text(42)[2]).toBe('  tun.out -> up.in              8.0 Mbit/s');
    expect(text(42)[1]).not.toContain('waiting');
    expect(text(30)[2]).toBe('  tun.ou…-> up.in   8.0 Mbit/s');
  });

  it('says that a network does not answer, and shows what was', () => {
    expect(text(80, { ...view, silent: 3400 })[0]).toBe(
      'tun0   no answer for 3 s   memory: 12 of 1 000 small, 0 of 100 large',
    );
    expect(text(80, { name: 'tun0', rates: undefined, silent: 0 })).toEqual(['tun0   no answer yet']);
  });
});

const Odd = reason('odd-length');

class DropOdd implements App {
  push({ pool, input, output }: Ports) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet]! & 1) pool.drop(packet, Odd);
      else output.out.put(packet);
    }
  }
}

/** a -> odd -> b with two packets each 10 ms of its time, of which one is odd; time passes as fast as it can. */
async function running(name: string) {
  const runtime = new VirtualRuntime();
  const net = new Network(runtime, { memory: 32 << 20 });
  const [a, b] = [new MemoryPort(), new MemoryPort()];
  net.app('a', a).app('b', b).app('odd', new DropOdd());
  await net.link('a.out -> odd.in').link('odd.out -> b.in').start();
  const control = await serveControl(net, name);
  const timer = setInterval(() => {
    for (const length of [20, 21]) a.send(new Uint8Array(length).fill(0x45));
    runtime.advance('10ms');
  }, 10);
  let closing: Promise<void> | undefined;
  const close = () => {
    clearInterval(timer);
    closing ??= control.close().then(() => net.close());
    return closing;
  };
  return { close, [Symbol.asyncDispose]: close };
}

class Display extends EventEmitter {
  text = '';
  isTTY: boolean;
  columns = 80;
  rows = 24;

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  write(text: string) {
    this.text += text;
    this.emit('written');
  }

  /** What is on the screen: what was written last, without what moves the cursor. */
  get page(): string[] {
    const last = this.text.slice(this.text.lastIndexOf('\x1b[H'));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what terminals understand
    return last.replace(/\x1b\[[?\d]*[a-zA-Z]/g, '').split('\r\n');
  }

  async until(condition: () => boolean) {
    while (!condition()) await new Promise((resolve) => this.once('written', resolve));
  }
}

class Keyboard extends EventEmitter {
  isTTY = true;
  raw = false;
  reading = false;
  setRawMode(on: boolean) {
    this.raw = on;
  }
  resume() {
    this.reading = true;
  }
  pause() {
    this.reading = false;
  }
  type(text: string) {
    this.emit('data', Buffer.from(text));
  }
}

function top(words: string, { terminal = false } = {}) {
  const output = new Display(terminal);
  const input = new Keyboard();
  let code: number | undefined;
  const command = topCommand((result) => (code = result), { output, input }).exitOverride();
  const ended = command.parseAsync(words.split(' '), { from: 'user' }).then(() => code);
  return { output, input, ended };
}

const name = `top-${process.pid}`;
/** Long enough for every look of a test to come of a key. */
const NEVER = '--interval 3600';

describe('tunconnector top', () => {
  it('--once shows one picture as plain lines', async () => {
    await using _net = await running(name);
    const { output, ended } = top(`${name} --once --interval 0.2`, { terminal: true });
    expect(await ended).toBe(0);
    expect(output.text).toMatch(new RegExp(`^${name} {3}memory: .*\n`));
    expect(output.text).toMatch(/\n {2}a\.out -> odd\.in +[\d.]+ kbit\/s +\d+ pkt\/s +0 +0\n/);
    expect(output.text).toMatch(/\n {2}odd +\d+ +\d+ {3}odd-length \d+\n$/);
    expect(output.text).not.toContain('\x1b');
  });

  it('writes plain lines where there is no terminal, until the network ends', async () => {
    const net = await running(name);
    const { output, ended } = top(`${name} --interval 0.1`);
    await output.until(() => (output.text.match(/a\.out -> odd\.in/g) ?? []).length >= 2);
    await net.close();
    expect(await ended).toBe(0);
    expect(output.text).toMatch(/^\d\d:\d\d:\d\d\n/);
    expect(output.text.endsWith(`\n${name} has ended\n`)).toBe(true);
    expect(output.text).not.toContain('\x1b');
  });

  it('--json writes an object for each interval, and one for the end', async () => {
    const net = await running(name);
    const { output, ended } = top(`${name} --interval 0.3 --json`, { terminal: true });
    await output.until(() => output.text.includes('\n'));
    await net.close();
    expect(await ended).toBe(0);
    const events = output.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(events.at(-1)).toMatchObject({ event: 'ended', network: name });
    const [first] = events;
    expect(first).toMatchObject({ event: 'rates', network: name, memory: { largeUsed: 0 } });
    // Of its own time, in which two packets come each 10 ms.
    expect(first.links[0]).toMatchObject({ link: 'a.out -> odd.in', packetsPerSecond: 200 });
    expect(first.links[1]).toMatchObject({ link: 'odd.out -> b.in', packetsPerSecond: 100 });
    expect(first.apps).toContainEqual(
      expect.objectContaining({
        app: 'odd',
        droppedPerSecond: 100,
        drops: { 'odd-length': expect.any(Number) },
      }),
    );
  });

  it('refreshes a terminal, which is as before when q is typed', async () => {
    await using _net = await running(name);
    const { output, input, ended } = top(`${name} ${NEVER}`, { terminal: true });
    await output.until(() => output.text.includes('odd.out'));
    expect(output.text.startsWith('\x1b[?1049h')).toBe(true);
    expect(input).toMatchObject({ raw: true, reading: true });
    expect(output.page[0]).toMatch(/^tunconnector top, 1 network +q quits {2}\d\d:\d\d:\d\d$/);
    const looks = () => output.text.split('\x1b[H').length;
    const before = looks();
    input.type(' ');
    await output.until(() => looks() > before);
    input.type('q');
    expect(await ended).toBe(0);
    expect(output.text.endsWith('\x1b[?1049l')).toBe(true);
    expect(input).toMatchObject({ raw: false, reading: false });
    expect(input.listenerCount('data') + output.listenerCount('resize') + output.listenerCount('error')).toBe(
      0,
    );
  });

  it('fits into the terminal, also when that changes, and scrolls', async () => {
    await using _net = await running(name);
    const { output, input, ended } = top(`${name} ${NEVER}`, { terminal: true });
    await output.until(() => output.text.includes('odd.out'));
    Object.assign(output, { columns: 30, rows: 3 });
    output.emit('resize');
    expect(output.page.map((line) => line.trimEnd())).toEqual([
      'tunconnector top, 1 network',
      expect.stringMatching(new RegExp(`^${name} {3}mem`)),
      expect.stringMatching(/^ {2}\d more lines: arrow keys$/),
    ]);
    for (const line of output.page) expect(line.length).toBeLessThanOrEqual(30);
    // Behind the last column it would take that with it.
    const erasers = (before: string) => output.text.split(`${before}\x1b[K`).length - 1;
    expect(erasers('\x1b[H') + erasers('\r\n')).toBe(erasers(''));
    input.type('\x1b[B');
    expect(output.page[1]).toMatch(/^ {2}link/);
    input.type('\x1b[6~\x1b[6~\x1b[6~');
    expect(output.page.at(-1)).toMatch(/odd/);
    input.type('k');
    input.type('\x03');
    expect(await ended).toBe(0);
  });

  it('of a terminal ends with the network, and says so where it is to be seen', async () => {
    const net = await running(name);
    const { output, ended } = top(`${name} --interval 0.1`, { terminal: true });
    await output.until(() => output.text.includes('odd.out'));
    await net.close();
    expect(await ended).toBe(0);
    expect(output.text.endsWith(`\x1b[?1049l${name} has ended\n`)).toBe(true);
  });

  it('without a name shows all there are, and those that come', async () => {
    const others = [`${name}-1`, `${name}-2`];
    await using _one = await running(others[0]!);
    const { output, input, ended } = top('--interval 0.1', { terminal: true });
    Object.assign(output, { rows: 1000 });
    await output.until(() => output.page.some((line) => line.startsWith(others[0]!)));
    const two = await running(others[1]!);
    await output.until(() => output.page.some((line) => line.startsWith(others[1]!)));
    await two.close();
    await output.until(() => output.page[0]!.includes(`${others[1]} has ended at`));
    expect(output.page.some((line) => line.startsWith(others[0]!))).toBe(true);
    input.type('q');
    expect(await ended).toBe(0);
  });

  it('shows what it has of a network that hangs, and can be left', async () => {
    mkdirSync(path.join(base, 'tunconnector'), { mode: 0o700 });
    const hangs = createServer(() => {}).listen(path.join(base, 'tunconnector', `${name}.sock`));
    try {
      await new Promise((resolve) => hangs.once('listening', resolve));
      const { output, input, ended } = top(`${name} --interval 0.1`, { terminal: true });
      await output.until(() => output.text.includes(`${name}   no answer for`));
      input.type('q');
      expect(await ended).toBe(0);
      const once = top(`${name} --once --interval 0.1`);
      await expect(once.ended).rejects.toThrow('no network answers');
    } finally {
      hangs.close();
    }
  });

  it.each([
    ['none-of-this-name', 'ERR_SOCKET', 'no network "none-of-this-name" is running'],
    ['a/b', 'ERR_CONFIG', 'found the network name "a/b"'],
    ['x --interval 0', 'ERR_USAGE', '--interval: found "0", expected seconds, 0.1 to 3600'],
  ])('refuses %s', async (words, code, message) => {
    const { output, ended } = top(words, { terminal: true });
    await expect(ended).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    expect(output.text).toBe('');
  });
});
