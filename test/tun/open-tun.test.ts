import { describe, expect, it } from 'vitest';
import { Network } from '../../src/engine/network.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { type OpenTunOptions, openTun } from '../../src/tun/open-tun.ts';
import { ProgramPort } from '../../src/tun/open-tun-app.ts';

/** The program's end of an open TUN, with memory in place of the kernel. */
async function setup(queue = 16) {
  const runtime = new VirtualRuntime();
  const net = new Network(runtime, { memory: 32 << 20 });
  const program = new ProgramPort('L3', queue);
  const kernel = new MemoryPort();
  net.app('kernel', kernel).app('program', program);
  await net.link('kernel.out -> program.in').link('program.out -> kernel.in').start();
  const send = (count: number, first = 0) => {
    for (let n = 0; n < count; n++) kernel.send(Uint8Array.of(0x45, first + n));
    runtime.advance(0);
  };
  const read = async () => (await program.read()).value?.[1];
  return { runtime, program, kernel, send, read, [Symbol.asyncDispose]: () => net.close() };
}

describe('reading from an open TUN', () => {
  it('gives packets in order, whether they wait for the program or the program for them', async () => {
    await using run = await setup();
    const early = [run.read(), run.read()];
    run.send(5);
    expect(await Promise.all([...early, run.read(), run.read(), run.read()])).toEqual([0, 1, 2, 3, 4]);
  });

  it('gives the program bytes of its own', async () => {
    await using run = await setup();
    run.send(2);
    const first = (await run.program.read()).value!;
    first.fill(0xff);
    expect(await run.read()).toBe(1);
  });

  it('keeps no more unread packets than the queue, and loses none of the others', async () => {
    await using run = await setup(16);
    run.send(5000);
    expect(run.program.unread).toBe(16);
    const seen: (number | undefined)[] = [];
    while (seen.length < 5000) {
      for (let n = run.program.unread; n > 0; n--) seen.push(await run.read());
      run.runtime.advance(0);
    }
    expect(seen).toEqual(Array.from({ length: 5000 }, (_, n) => n & 0xff));
  });

  it('ends for every reader when it is closed, and fails for one when the interface does', async () => {
    await using run = await setup();
    const waiting = [run.program.read(), run.program.read()];
    run.program.end(new Error('gone'));
    const [first, second] = await Promise.allSettled(waiting);
    expect(first).toMatchObject({ status: 'rejected', reason: { message: 'gone' } });
    expect(second).toMatchObject({ status: 'fulfilled', value: { done: true } });
    expect((await run.program.read()).done).toBe(true);
  });

  it('fails the next read when nobody was reading', async () => {
    await using run = await setup();
    run.send(3);
    run.program.end(new Error('gone'));
    await expect(run.program.read()).rejects.toThrow('gone');
    expect((await run.program.read()).done).toBe(true);
  });
});

describe('writing to an open TUN', () => {
  it('copies the bytes, so that the program may use its buffer again', async () => {
    await using run = await setup();
    const buffer = Buffer.from([0x45, 1]);
    expect(run.program.write(buffer)).toBe(true);
    buffer[1] = 2;
    expect(run.program.write(buffer)).toBe(true);
    run.runtime.advance(0);
    expect(run.kernel.received.map((each) => each.bytes[1])).toEqual([1, 2]);
  });

  it('lets a program wait while the queue is full, and loses nothing of one that waits', async () => {
    await using run = await setup(16);
    let written = 0;
    const writer = (async () => {
      for (; written < 1000; written++) await run.program.write(Uint8Array.of(0x45, written));
    })();
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(15);
    while (written < 1000) {
      run.runtime.advance(0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await writer;
    run.runtime.advance(0);
    expect(run.kernel.received.map((each) => each.bytes[1])).toEqual(
      Array.from({ length: 1000 }, (_, n) => n & 0xff),
    );
    expect(run.program.dropped).toBe(0);
  });

  it('drops and counts what a program writes without waiting beyond twice the queue', async () => {
    await using run = await setup(16);
    const answers = Array.from({ length: 40 }, () => run.program.write(Uint8Array.of(0x45)));
    expect(answers.filter((each) => each === true)).toHaveLength(15);
    expect(answers.filter((each) => each === false)).toHaveLength(8);
    expect([run.program.unsent, run.program.dropped]).toEqual([32, 8]);
    run.runtime.advance(0);
    expect(await answers[20]).toBe(true);
  });

  it('takes large packets, and drops what no interface could carry', async () => {
    await using run = await setup();
    for (const length of [1, 2000, 65_535, 0, 70_000]) run.program.write(new Uint8Array(length));
    run.runtime.advance(0);
    expect(run.kernel.received.map((each) => each.bytes.length)).toEqual([1, 2000, 65_535]);
    expect(run.program.dropped).toBe(2);
  });

  it('tells those who wait for room that there will be none', async () => {
    await using run = await setup(1);
    const answer = run.program.write(Uint8Array.of(0x45));
    run.program.end();
    expect(await answer).toBe(false);
  });
});

describe('options of openTun', () => {
  it.each<[object, RegExp]>([
    [{ adresses: [] }, /unknown key "adresses", expected one of name, mode, addresses/],
    [{ mode: 'tub' }, /mode: found "tub"/],
    [{ mtu: 10 }, /mtu: found 10/],
    [{ queue: 0 }, /queue: found 0/],
    [
      { name: 'an-interface-too-long' },
      /name: found "an-interface-too-long" with 21 characters, expected at most 15/,
    ],
    [{ signal: 'now' }, /signal: .*AbortSignal/i],
  ])('%j is refused with what was found', async (options, message) => {
    await expect(openTun(options as OpenTunOptions)).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringMatching(message),
    });
  });

  it('a signal that has fired already opens nothing', async () => {
    await expect(openTun({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });
});
