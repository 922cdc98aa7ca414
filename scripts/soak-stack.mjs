/**
 * `npm run soak -- stack`: the stack's TCP under what lasts too long for `npm test`: 100 MB over links that lose, double and reorder,
 * a million forged segments, a million SYNs, ten thousand connections in a row. In virtual time, with fixed seeds; and from
 * ab on a kernel over a TUN.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { root } from './setup.mjs';

const MB = 1e6;
const SECOND = 1e9;
const terminal = process.stderr.isTTY;
const say = (line) => process.stderr.write(`${terminal ? '✓ ' : ''}${line}\n`);
const problems = [];
const check = (holds, problem) => {
  if (!holds) problems.push(problem);
};

/** Returns the exit code. */
export async function soakStack() {
  const { default: Table } = await import('cli-table3');
  const table = new Table({ head: ['', 'what came of it', 'took'], style: { head: [], border: [] } });
  const parts = [
    ...[0.1, 1, 5].map((loss) => [
      `100 MB, ${loss} % lost, 5 % reordered, 1 % doubled`,
      () => transfer(loss),
    ]),
    ['1 000 000 forged segments', forged],
    ['1 000 000 SYNs', flood],
    ['10 000 connections in a row', connections],
    ['10 000 connections of ab in a row', kernelConnections],
  ];
  for (const [title, run] of parts) {
    const begin = performance.now();
    const found = problems.length;
    const figures = await run();
    const took = `${((performance.now() - begin) / 1000).toFixed(1)} s`;
    const verdict = problems.length === found ? '' : `FAILED: ${problems.slice(found).join('; ')}. `;
    table.push([title, `${verdict}${figures}`, took]);
    say(`${title}: ${verdict}${figures} (${took})`);
  }
  console.log(`${table}`);
  return problems.length > 0 ? 1 : 0;
}

/** Two stacks with something in between, in virtual time. */
async function pair({ way, back = way, up, down, seed = 1 }) {
  const { Network, VirtualRuntime } = await import('../dist/engine/index.js');
  const { impair } = await import('../dist/impair/index.js');
  const { Stack } = await import('../dist/stack/index.js');
  const runtime = new VirtualRuntime({ seed });
  const net = new Network(runtime, { memory: 512 << 20 });
  const host = (address) => new Stack({ interfaces: [{ name: 'eth0', addresses: [address] }] });
  const [left, right] = [host('10.0.0.1/24'), host('10.0.0.2/24')];
  net.app('left', left).app('right', right);
  net.app('there', impair({ stages: way, seed, quantum: 0 }));
  net.app('back', impair({ stages: back, seed: seed + 1, quantum: 0 }));
  if (up) net.app('up', up).link('left.eth0 -> up.in').link('up.out -> there.in');
  else net.link('left.eth0 -> there.in');
  if (down) net.app('down', down).link('right.eth0 -> down.in').link('down.out -> back.in');
  else net.link('right.eth0 -> back.in');
  await net.link('there.out -> right.eth0').link('back.out -> left.eth0').start();
  return { runtime, net, left, right };
}

/** Bytes that say where they are. */
function pattern(from, into) {
  for (let i = 0; i < into.length; i++) into[i] = ((from + i) * 2654435761) >>> 24;
  return into;
}

/** Sends so many bytes from one end, and hashes them at both. */
class Flow {
  sent = createHash('sha256');
  got = createHash('sha256');
  written = 0;
  received = 0;
  lastAt = 0;
  longest = 0;
  error;
  #chunk = new Uint8Array(65_536);
  #into = new Uint8Array(65_536);

  constructor(runtime) {
    this.runtime = runtime;
  }

  /** Returns whether all was written. */
  pump(connection, upTo) {
    while (this.written < upTo) {
      const bytes = pattern(this.written, this.#chunk.subarray(0, Math.min(65_536, upTo - this.written)));
      const n = connection.write(bytes);
      this.sent.update(bytes.subarray(0, n));
      this.written += n;
      if (n < bytes.length) return false;
    }
    return true;
  }

  take(connection) {
    for (let n = connection.read(this.#into); n > 0; n = connection.read(this.#into)) {
      this.got.update(this.#into.subarray(0, n));
      this.received += n;
      const now = this.runtime.now();
      if (this.lastAt > 0) this.longest = Math.max(this.longest, now - this.lastAt);
      this.lastAt = now;
    }
  }
}

async function transfer(loss) {
  const way = `delay 5ms reorder 5% loss ${loss}% duplicate 1%`;
  const { runtime, net, left, right } = await pair({ way });
  const flow = new Flow(runtime);
  const total = 100 * MB;
  right.listen({ port: 9 }, (c) => ({
    onReadable: () => flow.take(c),
    onEnd: () => c.end(),
    onClosed: (error) => (flow.error ??= error),
  }));
  const pump = () => flow.pump(c, total) && c.end();
  let closed = false;
  const onClosed = (error) => {
    closed = true;
    flow.error ??= error;
  };
  const c = left.connect({ address: '10.0.0.2', port: 9 }, { onConnected: pump, onWritable: pump, onClosed });
  for (let s = 0; s < 3000 && !closed; s++) runtime.advance(SECOND);
  check(flow.received === total, `${flow.received} of ${total} bytes arrived, ${flow.error}`);
  check(flow.got.digest('hex') === flow.sent.digest('hex'), 'the hashes differ');
  // A timeout of 60 s is the longest that RFC 6298 knows; one of a few hundred ms is what such a path has.
  check(flow.longest < 5 * SECOND, `it stood still for ${(flow.longest / SECOND).toFixed(1)} s`);
  const figures = c.figures();
  await net.close();
  const rate = (total / (flow.lastAt / SECOND) / MB).toFixed(2);
  return `${rate} MB/s, ${figures.retransmissions} sent again, ${figures.timeouts} timeouts, longest pause ${Math.round(flow.longest / 1e6)} ms`;
}

async function forged() {
  const { Flag } = await import('../dist/packet/tcp.js');
  const { fillTransport, Verdict, verifyTransport } = await import('../dist/packet/index.js');
  const { randomStream } = await import('../dist/engine/index.js');
  const wanted = 1e6;
  /** Lets everything pass, and behind each packet sends copies of it that an attacker might have made. */
  class Attacker {
    inputs = ['in'];
    outputs = ['out'];
    sent = 0;
    target;
    constructor(seed) {
      this.random = randomStream(seed, 'attacker');
    }
    push({ pool, input, output }) {
      for (let n = input.in.waiting; n > 0; n--) {
        const packet = input.in.take();
        const bytes = pool.copyOut(packet);
        output.out.put(packet);
        if (!this.target || this.target.closed) continue;
        for (let i = 0; i < 60 && output.out.room > 100; i++) {
          const copy = pool.copyIn(this.forge(bytes.slice()), 3);
          if (copy < 0) break;
          this.sent++;
          output.out.put(copy);
        }
      }
    }
    forge(bytes) {
      const { random } = this;
      const view = new DataView(bytes.buffer, 20);
      const { next, edge, una, nxt } = this.target;
      const inside = (next + 1 + random.below(Math.max(1, ((edge - next) | 0) - 1))) | 0;
      const kind = random.below(6);
      if (kind === 0) {
        view.setInt32(4, inside);
        bytes[33] = Flag.Rst | (random.below(2) ? Flag.Ack : 0);
      } else if (kind === 1) {
        view.setInt32(4, random.below(2) ? inside : random.u32());
        bytes[33] = (Flag.Syn | random.below(32)) & ~Flag.Rst;
      } else if (kind === 2) {
        const far = 1 + random.below(1 << 28);
        view.setInt32(8, random.below(2) ? nxt + far : una - (1 << 27) - far);
        bytes[33] |= Flag.Ack;
      } else if (kind === 3) {
        view.setInt32(4, next + (1 << 27) + random.below(2 ** 31));
        bytes[33] = random.below(256);
      } else if (kind === 4) {
        for (let i = 40; i < 20 + (bytes[32] >> 4) * 4; i++) bytes[i] = random.below(256);
        bytes[32] = random.below(256);
        view.setInt32(4, next - (1 << 26));
      } else {
        // The checksum finds it out; where by chance it does not, nothing could.
        do bytes[20 + random.below(bytes.length - 20)] ^= 1 + random.below(255);
        while (random.below(4) > 0 || verifyTransport(bytes, 0) === Verdict.Right);
        return bytes;
      }
      view.setUint16(16, 0);
      fillTransport(bytes, 0);
      return bytes;
    }
  }
  const [up, down] = [new Attacker(1), new Attacker(2)];
  const { runtime, net, left, right } = await pair({ way: 'delay 5ms', up, down });
  const flow = new Flow(runtime);
  let server;
  right.listen({ port: 9 }, (c) => {
    server = c;
    return { onReadable: () => flow.take(c), onClosed: (error) => (flow.error = error ?? 'closed') };
  });
  const client = left.connect(
    { address: '10.0.0.2', port: 9 },
    { onClosed: (error) => (flow.error = error ?? 'closed') },
  );
  runtime.advance('100ms');
  up.target = server;
  down.target = client;
  let most = 0;
  for (let upTo = 0; up.sent + down.sent < wanted && !flow.error; ) {
    upTo += 100_000;
    flow.pump(client, upTo);
    runtime.advance('200ms');
    most = Math.max(most, left.tcp.memory + right.tcp.memory);
  }
  const sent = up.sent + down.sent;
  up.target = down.target = undefined;
  runtime.advance('30s');
  check(!flow.error, `the connection ended: ${flow.error}`);
  check(flow.received === flow.written, `${flow.received} of ${flow.written} bytes arrived`);
  check(flow.got.digest('hex') === flow.sent.digest('hex'), 'the hashes differ');
  check(most < 32 << 20, `buffers took ${most} bytes`);
  check(net.report().memory.livePackets === 0, 'packets were left');
  await net.close();
  return `${sent} sent, ${(flow.received / MB).toFixed(1)} MB passed unharmed, at most ${(most / 1024).toFixed(0)} KiB of buffers`;
}

async function flood() {
  const { Network, VirtualRuntime, randomStream } = await import('../dist/engine/index.js');
  const { tcpPacket } = await import('../dist/packet/index.js');
  const { Flag } = await import('../dist/packet/tcp.js');
  const { Stack } = await import('../dist/stack/index.js');
  const { MemoryPort } = await import('../dist/testing/index.js');
  const runtime = new VirtualRuntime({ seed: 1 });
  const host = new Stack({ interfaces: [{ name: 'eth0', addresses: ['10.0.0.2/24'] }] });
  const port = new MemoryPort();
  const net = new Network(runtime, { memory: 256 << 20 }).app('host', host).app('port', port);
  await net.link('port.out -> host.eth0').link('host.eth0 -> port.in').start();
  let accepted = 0;
  host.listen({ port: 80 }, () => {
    accepted++;
    return {};
  });
  const random = randomStream(1, 'flood');
  const to = '10.0.0.2:80';
  const before = process.memoryUsage().rss;
  for (let burst = 0; burst < 5000; burst++) {
    for (let i = 0; i < 200; i++) {
      const from = `10.0.0.${3 + random.below(200)}:${1024 + random.below(60_000)}`;
      port.send(tcpPacket({ from, to, flags: Flag.Syn, sequence: random.u32(), tcpOptions: { mss: 1460 } }));
    }
    runtime.advance('1ms');
    port.received.length = 0;
  }
  const { connections, cookiesSent, memory } = host.tcp;
  // Somebody honest, in the middle of it.
  const { parse } = await import('../dist/packet/tcp.js');
  const from = '10.0.0.1:5000';
  port.send(tcpPacket({ from, to, flags: Flag.Syn, sequence: 1000, tcpOptions: { mss: 1460 } }));
  runtime.advance('1ms');
  const answer = parse(port.received.at(-1).bytes, 20);
  const acknowledgment = (answer.sequence + 1) >>> 0;
  port.send(tcpPacket({ from, to, flags: Flag.Ack, sequence: 1001, acknowledgment }));
  runtime.advance('1ms');
  check(accepted === 1, `${accepted} of 1 honest connections were accepted`);
  check(connections <= 1024, `${connections} handshakes were kept`);
  runtime.advance('120s');
  check(host.tcp.connections === 1, `${host.tcp.connections} connections were left`);
  await net.close();
  const grown = Math.max(0, process.memoryUsage().rss - before) / (1 << 20);
  check(grown < 256, `resident memory grew by ${grown.toFixed(0)} MiB`);
  return `${connections} handshakes kept, ${cookiesSent} cookies, ${memory} bytes of buffers, the honest one was served`;
}

async function connections() {
  const { runtime, net, left, right } = await pair({ way: 'delay 1ms' });
  right.listen({ port: 80 }, (c) => ({
    onReadable: () => c.write(new Uint8Array(c.read(new Uint8Array(100)))),
    onEnd: () => c.end(),
  }));
  const wanted = 10_000;
  let echoed = 0;
  for (let i = 0; i < wanted; i++) {
    const onReadable = () => {
      echoed += c.read(new Uint8Array(100));
      c.end();
    };
    const c = left.connect({ address: '10.0.0.2', port: 80 }, { onReadable });
    c.write(new Uint8Array(10));
    runtime.advance('10ms');
  }
  check(echoed === 10 * wanted, `${echoed} of ${10 * wanted} bytes came back`);
  runtime.advance('121s');
  for (const { tcp } of [left, right])
    check(tcp.connections + tcp.timeWaits + tcp.memory === 0, 'something was left');
  check(net.report().memory.livePackets === 0, 'packets were left');
  await net.close();
  return `${echoed / 10} answered, nothing left`;
}

async function kernelConnections() {
  const { createWorld } = await import('../dist/testing/index.js');
  const world = await createWorld({ name: 'soak' });
  try {
    const host = await world.host('kernel');
    const words = '--tun st0 --address 10.9.0.2/24 --host-address 10.9.0.1/24 --serve ping,http';
    const argv = [path.join(root, 'bin', 'tunconnector.js'), 'stack', 'up', ...words.split(' ')];
    const stack = host.spawn([process.execPath, ...argv]);
    await stack.waitFor('is up', 30_000);
    const told = await host.exec(['ab', '-q', '-s', '30', '-n', '10000', '-c', '1', 'http://10.9.0.2/'], {
      timeout: 300_000,
    });
    const found = (name) => Number(new RegExp(`${name}: +([0-9.]+)`).exec(told.stdout)?.[1] ?? Number.NaN);
    // The answer says how many there were, and so differs in length.
    const broken = found('Failed requests') - (Number(/Length: (\d+)/.exec(told.stdout)?.[1]) || 0);
    check(found('Complete requests') === 10_000, `ab: ${told.stderr.trim().split('\n').at(-1)}`);
    check(!(broken > 0), `${broken} requests failed`);
    const rate = found('Requests per second').toFixed(0);
    check((await stack.stop('SIGINT', 5000)).code === 0, 'the command did not end well');
    return `${found('Complete requests')} answered, ${rate} a second`;
  } finally {
    await world.close();
  }
}
