/**
 * `npm run soak -- transfer [--bytes 10G]`: TCP through the real command, half of the bytes in each direction, with
 * offloads on and off, IPv4 and IPv6, TUN and TAP. Both ends hash what they send and get; every hash must be equal.
 */
import {
  ADDRESSES,
  COMBINATIONS,
  compileFlows,
  sendFlows,
  serveFlows,
  startPair,
  twoEnds,
} from './flows.mjs';

const UNITS = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
/** The slowest way carries more than this, on the slowest machine that anyone waits for. */
const SLOWEST = 5e6;

const terminal = process.stderr.isTTY;

/** `10G` in bytes; undefined for what is no size. */
export function parseSize(text) {
  const found = /^(\d+(?:\.\d+)?)([kMGT]?)B?$/.exec(text);
  const bytes = found ? Math.round(Number(found[1]) * UNITS[found[2]]) : 0;
  return bytes >= 2 && bytes <= 1e15 ? bytes : undefined;
}

/** Returns the exit code: 0 when all arrived as it was sent. */
export async function soakTransfer(bytes) {
  const { default: Table } = await import('cli-table3');
  const table = new Table({
    head: ['', 'to the server', 'to the client', 'bytes', 'hashes'],
    style: { head: [], border: [] },
  });
  let failures = 0;
  const { program, close } = await compileFlows();
  try {
    for (const combination of COMBINATIONS) {
      const row = await one(program, combination, bytes);
      if (!row.equal) failures++;
      const verdict = row.equal ? 'equal' : `FAILED: ${row.problem}`;
      table.push([combination.title, ...row.rates, `${row.bytes}`, verdict]);
    }
  } finally {
    await close();
  }
  console.log(`${table}`);
  if (failures > 0) console.log(`FAILED: ${failures} of ${COMBINATIONS.length} ways`);
  return failures > 0 ? 1 : 0;
}

async function one(program, { title, family, words }, bytes) {
  const { createWorld } = await import('../dist/testing/index.js');
  const world = await createWorld({ name: 'soak' });
  const half = Math.ceil(bytes / 2);
  const row = { rates: [], bytes: 0, equal: true, problem: '' };
  try {
    const { server, client } = await twoEnds(world);
    const { far, near } = await startPair(server, client, { family, words });
    const inner = ADDRESSES[family];
    const ways = [
      { name: 'to the server', from: client, to: server, address: inner.server },
      { name: 'to the client', from: server, to: client, address: inner.client },
    ];
    for (const { name, from, to, address } of ways) {
      const listener = await serveFlows(program, to, address);
      const timeout = 60_000 + (half / SLOWEST) * 1000;
      const onProgress = (sent) => progress(`${title}, ${name}: ${((100 * sent) / half).toFixed(0)} %`);
      const result = await sendFlows(program, from, address, {
        bytes: half,
        seed: family,
        timeout,
        onProgress,
      });
      await listener.stop('SIGTERM');
      row.rates.push(`${((result.bytes * 8) / result.seconds / 1e9).toFixed(2)} Gbit/s`);
      row.bytes += result.bytes;
      if (result.equal !== result.flows) fail(row, `${name}: the hashes differ`);
    }
    for (const end of [near, far]) {
      const { code } = await end.stop('SIGINT', 5000);
      if (code !== 0) fail(row, `an end of the tunnel ended with ${code}: ${end.stderr.trim()}`);
    }
  } catch (error) {
    fail(row, error.message);
  } finally {
    await world.close();
  }
  while (row.rates.length < 2) row.rates.push('');
  progress(`${title}: ${row.rates.join(', ')}, ${row.equal ? 'equal' : row.problem}`, true);
  return row;
}

function fail(row, problem) {
  row.equal = false;
  row.problem ||= problem;
}

/** One line that changes on a terminal; elsewhere only what is done. */
function progress(line, done = false) {
  if (terminal) process.stderr.write(`\r\u001b[K${line}${done ? '\n' : ''}`);
  else if (done) process.stderr.write(`${line}\n`);
}
