import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';

/** Has a socket and as much memory as wanted; with `keep` it asks for the keeper, twice. */
const PROGRAM = `
  const { createRequire } = await import('node:module');
  const { createSocket } = await import('node:dgram');
  const [keep, megabytes] = process.argv.slice(1);
  const native = createRequire(process.cwd() + '/')('node-gyp-build')(process.cwd());
  globalThis.memory = Buffer.alloc(megabytes << 20, 1);
  const answers = keep === 'keep' ? [native.keepMemory(), native.keepMemory()] : [];
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1', () => process.stdout.write(JSON.stringify({ port: socket.address().port, answers }) + '\\n'));
  process.on('SIGTERM', () => process.exit(3));
`;

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

async function start(keep: boolean, megabytes = 1) {
  const argv = ['--input-type=module', '-e', PROGRAM, keep ? 'keep' : 'alone', `${megabytes}`];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = await once(child.stdout!, 'data');
  return { child, ...(JSON.parse(`${line}`) as { port: number; answers: boolean[] }) };
}

/** Processes that hold the memory of a process: its children of that name. */
function keepersOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const [, comm, , parent] = /^\d+ \((.*)\) (\S) (\d+)/.exec(
          readFileSync(`/proc/${name}/stat`, 'latin1'),
        )!;
        return comm === 'tunc-memory' && Number(parent) === pid;
      } catch {
        return false;
      }
    })
    .map(Number);
}

const isThere = (pid: number) => {
  try {
    // A zombie that init has not reaped yet is gone, too.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
};

const gone = async (pid: number) => {
  for (const end = performance.now() + 5000; performance.now() < end; await sleep(10))
    if (!isThere(pid)) return true;
  return false;
};

describe('a process whose memory another one holds', () => {
  it('has one such other, without descriptors, that ends with it: killed, ended and terminated', async () => {
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const { child, answers } = await start(true);
      expect(answers).toEqual([true, true]);
      const [keeper, ...more] = keepersOf(child.pid!);
      expect(more).toEqual([]);
      // What it polls is all it has.
      await expect.poll(() => readdirSync(`/proc/${keeper}/fd`).length).toBe(1);
      child.kill(signal);
      const [code, by] = await once(child, 'exit');
      expect([code, by]).toEqual(signal === 'SIGKILL' ? [null, signal] : [3, null]);
      expect(await gone(keeper!)).toBe(true);
    }
  });

  it('is what it was when the other one is killed', async () => {
    const { child, port } = await start(true);
    const [keeper] = keepersOf(child.pid!);
    process.kill(keeper!, 'SIGKILL');
    expect(await gone(keeper!)).toBe(true);
    const socket = createSocket('udp4');
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.send('x');
    await sleep(50);
    expect(child.exitCode).toBeNull();
    socket.close();
  });

  it('is gone before 120 MB are taken apart', { retry: 2 }, async () => {
    /** ms from the kill to the end, the better of two: a machine that stands still says nothing. */
    const goneAfter = async (keep: boolean) => {
      let best = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 2; round++) {
        const { child } = await start(keep, 120);
        const killed = performance.now();
        child.kill('SIGKILL');
        await once(child, 'exit');
        best = Math.min(best, performance.now() - killed);
      }
      return best;
    };
    expect(await goneAfter(true)).toBeLessThan((await goneAfter(false)) / 2);
  });
});
