import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sink } from '../../src/engine/basic.ts';
import { type HostedNetwork, hostNetwork, type Thread } from '../../src/engine/live-hosted.ts';
import type { NetworkReport } from '../../src/engine/report.ts';
import { LinkType } from '../../src/packet/capture.ts';
import { PcapngWriter } from '../../src/packet/pcapng.ts';
import { captureHosted } from '../../src/tun/capture/live-attached.ts';
import { serveHosted } from '../../src/tun/control/live-attached.ts';
import { connectControl } from '../../src/tun/control/live-client.ts';
import { replay } from '../../src/tun/replay.ts';
import { collect, readAll } from '../packet/pcap-helpers.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-hosted-'));
const before = process.env.XDG_RUNTIME_DIR;
beforeAll(() => {
  process.env.XDG_RUNTIME_DIR = directory;
});
afterAll(() => {
  if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = before;
  rmSync(directory, { recursive: true });
});

/** Packets of 1000 bytes, 1 ms apart. */
function packets(count: number): Uint8Array {
  const { sink: write, bytes } = collect();
  const writer = new PcapngWriter({ sink: write });
  writer.addInterface({ linkType: LinkType.Raw });
  for (let n = 0; n < count; n++) writer.packet(0, n * 1e6, new Uint8Array(1000).fill(0x45), 0, 1000, 1000);
  writer.end();
  return bytes();
}

async function running(thread: Thread, options: object = { loop: true }) {
  const net = hostNetwork(thread);
  const apps = { replay: replay({ bytes: packets(50), ...options }), end: sink({}) };
  await net.start({ apps, links: ['replay.out -> end.in'] });
  return Object.assign(net, { [Symbol.asyncDispose]: () => net.close() });
}

const passed = ({ links }: NetworkReport) => links[0]!.packets;

async function until(net: HostedNetwork, count: number): Promise<void> {
  while (passed(await net.report()) < count) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe.each<Thread>(['main', 'worker'])('a network in the thread %s', (thread) => {
  it('is captured into a file, of which it says how many packets it holds', async () => {
    await using net = await running(thread);
    const file = path.join(directory, `${thread}.pcapng`);
    const ends: unknown[] = [];
    const options = { snapLength: 128, merge: 'one', onEnd: (summary: unknown) => void ends.push(summary) };
    const capture = await captureHosted(net, 'all', file, options);
    await until(net, passed(await net.report()) + 60);
    const summary = await capture.stop();
    expect(summary).toMatchObject({ missed: 0, error: undefined });
    const held = readAll(new Uint8Array(readFileSync(file)));
    expect(held).toHaveLength(summary.packets);
    expect(held.length).toBeGreaterThanOrEqual(60);
    expect(held[0]).toMatchObject({ originalLength: 1000, interface: { name: 'one' } });
    expect(held[0]!.bytes).toHaveLength(128);
    expect(ends).toEqual([summary]);
    expect(await capture.stop()).toEqual(summary);
  });

  it('ends a capture by itself after as many packets as were asked for', async () => {
    await using net = await running(thread);
    const capture = new Promise((resolve) => {
      const file = path.join(directory, `${thread}-count.pcapng`);
      void captureHosted(net, 'all', file, { count: 20, onEnd: resolve });
    });
    expect(await capture).toEqual({ packets: 20, missed: 0, error: undefined });
  });

  it('tells what is wrong with a capture as a network in this thread does', async () => {
    await using net = await running(thread);
    const file = path.join(directory, 'none/x.pcapng');
    const wrong = captureHosted(net, 'all', file);
    await expect(wrong).rejects.toMatchObject({ code: 'ERR_CAPTURE', errno: 'ENOENT' });
    const nobody = captureHosted(net, 'nobody', path.join(directory, 'x.pcapng'));
    await expect(nobody).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining('"replay.out -> end.in"'),
    });
    const full = new Promise((resolve) => {
      void captureHosted(net, 'all', '/dev/full', { onEnd: resolve });
    });
    expect(await full).toMatchObject({ error: { code: 'ERR_CAPTURE', errno: 'ENOSPC' } });
    await until(net, passed(await net.report()) + 5);
  });

  it('whose capture it was is gone: the capture ends with an error', async () => {
    const net = await running(thread);
    const file = path.join(directory, `${thread}-gone.pcapng`);
    const capture = await captureHosted(net, 'all', file);
    await net.close();
    expect((await capture.stop()).error).toMatchObject({ code: 'ERR_CAPTURE' });
  });

  it('has a control socket that reports and captures until it is closed', async () => {
    await using net = await running(thread);
    const control = await serveHosted(net, `net-${thread}`);
    await expect(serveHosted(net, `net-${thread}`)).rejects.toMatchObject({ code: 'ERR_SOCKET' });
    const client = await connectControl(`net-${thread}`);
    expect(passed(await client.report())).toBeGreaterThan(0);
    const { bytes } = await client.capture({ snaplen: 64, count: 30 });
    const chunks: Uint8Array[] = [];
    for await (const chunk of bytes) chunks.push(chunk);
    expect(readAll(new Uint8Array(Buffer.concat(chunks)))).toHaveLength(30);
    await client.close();
    await control.close();
    await expect(connectControl(`net-${thread}`)).rejects.toMatchObject({ code: 'ERR_SOCKET' });
    expect(passed(await net.report())).toBeGreaterThan(0);
  });

  it('puts one app in place of another, and packets flow on', async () => {
    await using net = await running(thread);
    await until(net, 10);
    await net.replace({ end: sink({}) });
    await net.replace({ replay: replay({ bytes: packets(5), loop: 2, speed: 'fast' }) });
    const { apps } = await net.report();
    expect(apps.map(({ app }) => app).sort()).toEqual(['end', 'replay']);
    await until(net, 20);
  });
});
