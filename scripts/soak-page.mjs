/**
 * `npm run soak -- page`: the page of an impaired link, open for minutes in a headless browser while 200 flows pass and packets
 * are dropped, with four messages of the stream a second. What the page and the command hold must stay what it was after the
 * first minutes.
 */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { root } from './setup.mjs';

const COMMAND = path.join(root, 'bin', 'tunconnector.js');
const LOAD = path.join(root, 'test', 'live', 'fixtures', 'udp-load.mjs');
const ADDRESS = 'http://127.0.0.1:7580/';
const SAMPLE = 10_000;
const MB = 1 << 20;
/** What may be added from the end of the warm-up to the end. */
const KINDS = {
  heap: {
    title: 'JavaScript heap of the page',
    allowed: MB,
    show: (bytes) => `${(bytes / MB).toFixed(2)} MiB`,
  },
  nodes: { title: 'nodes of the page', allowed: 100, show: (count) => `${count}` },
  listeners: { title: 'listeners of the page', allowed: 20, show: (count) => `${count}` },
  rss: { title: 'command, resident', allowed: 8 * MB, show: (bytes) => `${(bytes / MB).toFixed(1)} MiB` },
};

/** @returns {Promise<number>} the exit code */
export async function soakPage(minutes, scratch) {
  const { createWorld } = await import('../dist/testing/index.js');
  const world = await createWorld({ name: 'soak' });
  let browser;
  try {
    const [near, middle, far] = await Promise.all(['near', 'middle', 'far'].map((name) => world.host(name)));
    await world.wire(near, middle, { a: '10.9.0.1/24', names: { b: 'left' } });
    await world.wire(far, middle, { a: '10.9.0.2/24', names: { b: 'right' } });
    const words = '--delay 20ms --loss 5% --rate 20mbit --serve 127.0.0.1:7580'.split(' ');
    const command = middle.node(COMMAND, ['impair', 'left', 'right', ...words]);
    await command.waitFor('are joined', 10_000);
    await far.node(LOAD, ['echo']).waitFor('ready');
    near.node(LOAD, ['10.9.0.2', '200', '500']);
    browser = await openBrowser(middle, scratch);
    const page = await browser.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(`${ADDRESS}?interval=250`);
    await page.waitForSelector('#connection[data-state="live"]');
    const samples = await watch(page, command, minutes);
    return await report(samples, errors);
  } finally {
    await browser?.close();
    await world.close();
  }
}

/** On the host that serves the page on its loopback. */
async function openBrowser(host, scratch) {
  const executablePath = path.join(scratch, 'chromium');
  await writeFile(executablePath, `#!/bin/sh\nexec ${host.command(['chromium', '"$@"']).join(' ')}\n`);
  await chmod(executablePath, 0o755);
  return chromium.launch({ executablePath, args: ['--no-sandbox'] });
}

async function watch(page, command, minutes) {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const samples = [];
  const end = performance.now() + minutes * 60_000;
  while (performance.now() < end) {
    await sleep(SAMPLE);
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize } = await session.send('Runtime.getHeapUsage');
    const { metrics } = await session.send('Performance.getMetrics');
    const metric = (name) => metrics.find((each) => each.name === name).value;
    const [, pages] = (await readFile(`/proc/${command.child.pid}/statm`, 'utf8')).split(' ');
    const sample = { heap: usedSize, nodes: metric('Nodes'), listeners: metric('JSEventListeners') };
    samples.push({ ...sample, rss: Number(pages) * 4096 });
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    process.stderr.write(`${KINDS.heap.show(usedSize)} heap, ${sample.nodes} nodes; ${left} s to go\n`);
  }
  return samples;
}

async function report(samples, errors) {
  const { default: Table } = await import('cli-table3');
  const problems = errors.map((error) => `the page failed: ${error}`);
  const warm = Math.min(30, Math.floor(samples.length / 3));
  const after = samples.slice(warm);
  const edge = Math.max(1, Math.min(12, Math.floor(after.length / 3)));
  const table = new Table({
    head: ['', 'warm', 'at the end', 'most', 'allowed'],
    style: { head: [], border: [] },
  });
  for (const [key, { title, allowed, show }] of Object.entries(KINDS)) {
    const values = after.map((sample) => sample[key]);
    const [first, last] = [values.slice(0, edge), values.slice(-edge)].map(median);
    table.push([title, show(first), show(last), show(Math.max(...values)), `+${show(allowed)}`]);
    if (last - first > allowed) problems.push(`${title}: grew from ${show(first)} to ${show(last)}`);
  }
  console.log(`${table}`);
  for (const problem of problems) console.log(`FAILED: ${problem}`);
  return problems.length > 0 ? 1 : 0;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
