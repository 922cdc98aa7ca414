// A meter on an IP stack of its own that talks to real iperf3, over a TUN of this machine. Run it as root:
//
//     iperf3 -s                                          node stack-iperf3.mjs client 10.9.0.1 [-R] [-u] [-t 5] [-b 100]
//     node stack-iperf3.mjs server, in another terminal: iperf3 -c 10.9.0.2 [-R] [-u]
//
// -R: the server sends; -u: datagrams, -b so many Mbit/s; -t: seconds. One stream, as iperf3 3.x speaks it: a connection for control, on
// which states are bytes and parameters JSON behind four bytes of length, and a connection or flow of datagrams for the data.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { liveRuntime, Network } from 'tunconnector';
import { createConnection, Stack, StackServer } from 'tunconnector/stack';
import { configureInterface, tun } from 'tunconnector/tun';

const PORT = 5201;
const COOKIE = 37;
const State = {
  start: 1,
  running: 2,
  end: 4,
  parameters: 9,
  streams: 10,
  exchange: 13,
  display: 14,
  done: 16,
  denied: -1,
  failed: -2,
};
/** Of datagrams: who opens a flow says the first, and hears the second. */
const HELLO = Buffer.from('39383736', 'hex');
const ANSWER = Buffer.from('36373839', 'hex');
const DATAGRAM = 1400;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    reverse: { type: 'boolean', short: 'R', default: false },
    udp: { type: 'boolean', short: 'u', default: false },
    time: { type: 'string', short: 't', default: '5' },
    bandwidth: { type: 'string', short: 'b', default: '100' },
    tun: { type: 'string', default: 'st0' },
  },
});

const host = new Stack({ interfaces: [{ name: 'eth0', addresses: ['10.9.0.2/24'] }] });
const net = new Network(liveRuntime())
  .app('tun', tun({ name: values.tun }))
  .app('host', host)
  .link('tun.out -> host.eth0')
  .link('host.eth0 -> tun.in');

/** Bytes of a socket, so many at a time. */
class Reader {
  #socket;
  #held = Buffer.alloc(0);

  constructor(socket) {
    this.#socket = socket;
  }

  async take(length) {
    while (this.#held.length < length) {
      const more = this.#socket.read();
      if (more) this.#held = Buffer.concat([this.#held, more]);
      else if (this.#socket.readableEnded || this.#socket.destroyed) throw new Error('the peer has gone');
      else await Promise.race([once(this.#socket, 'readable'), once(this.#socket, 'end')]);
    }
    const taken = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return taken;
  }

  state = async () => (await this.take(1)).readInt8();

  async json() {
    const length = (await this.take(4)).readUInt32BE();
    if (length > 1 << 20) throw new Error(`${length} bytes of JSON`);
    return JSON.parse((await this.take(length)).toString());
  }
}

const say = (socket, state) => socket.write(Buffer.from([state & 0xff]));

function tell(socket, value) {
  const text = Buffer.from(JSON.stringify(value));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  socket.write(Buffer.concat([length, text]));
}

/** What one side did, and how: both kinds of stream fill it in. */
const figures = () => ({ bytes: 0, packets: 0, errors: 0, jitter: 0, started: performance.now(), ended: 0 });

function resultOf(told, sends) {
  told.ended ||= performance.now();
  const { bytes, packets, errors, jitter } = told;
  const times = { start_time: 0, end_time: (told.ended - told.started) / 1000 };
  const stream = { id: 1, bytes, retransmits: -1, jitter, errors, packets, ...times };
  return {
    ...{ cpu_util_total: 0, cpu_util_user: 0, cpu_util_system: 0 },
    ...{ sender_has_retransmits: sends ? 0 : -1, congestion_used: 'cubic', streams: [stream] },
  };
}

// ── TCP

/** Sends until it is told to stop. */
async function pour(connection, told, isOver) {
  const chunk = Buffer.alloc(128 << 10, 'tunconnector ');
  while (!isOver() && connection.writable) {
    told.bytes += chunk.length;
    if (!connection.write(chunk)) await Promise.race([once(connection, 'drain'), sleep(100)]);
    else await new Promise(setImmediate);
  }
}

function drink(connection, told) {
  connection.on('data', (bytes) => {
    if (told.ended === 0) told.bytes += bytes.length;
  });
}

// ── UDP: each datagram has seconds, microseconds and its number in front

async function fire(send, told, length, bitsPerSecond, isOver) {
  const bytes = Buffer.alloc(length);
  const begun = performance.now();
  while (!isOver()) {
    const due = ((performance.now() - begun) / 1000) * (bitsPerSecond / 8);
    while (told.bytes < due && !isOver()) {
      const now = performance.timeOrigin + performance.now();
      bytes.writeUInt32BE(Math.trunc(now / 1000), 0);
      bytes.writeUInt32BE(Math.trunc((now % 1000) * 1000), 4);
      bytes.writeUInt32BE(told.packets + 1, 8);
      if (!send(bytes)) break;
      told.packets++;
      told.bytes += bytes.length;
    }
    await sleep(1);
  }
}

/** Losses by numbers that are missing, jitter as RFC 1889 has it. */
function hit(bytes, told) {
  if (bytes.length < 12 || told.ended !== 0) return;
  const number = bytes.readUInt32BE(8);
  if (number > told.packets) {
    told.errors += number - told.packets - 1;
    told.packets = number;
  } else if (told.errors > 0) told.errors--;
  told.bytes += bytes.length;
  const sent = bytes.readUInt32BE(0) * 1000 + bytes.readUInt32BE(4) / 1000;
  const transit = (performance.timeOrigin + performance.now() - sent) / 1000;
  if (told.transit !== undefined) told.jitter += (Math.abs(transit - told.transit) - told.jitter) / 16;
  told.transit = transit;
}

const report = (what, { bytes, packets, errors, jitter }, seconds) => {
  const rate = `${((bytes * 8) / seconds / 1e6).toFixed(1)} Mbit/s`;
  const lost = packets > 0 ? `, ${errors} of ${packets} lost, jitter ${(jitter * 1000).toFixed(3)} ms` : '';
  console.log(`${what}: ${bytes} bytes in ${seconds.toFixed(2)} s, ${rate}${lost}`);
};

// ── The client

async function client(address) {
  const { reverse, udp } = values;
  const time = Number(values.time);
  const bandwidth = Number(values.bandwidth) * 1e6;
  const dial = createConnection(host, { tcp: { sendBuffer: 4 << 20 } });
  const cookie = Buffer.alloc(COOKIE);
  cookie.write(randomBytes(18).toString('hex'));
  const control = dial({ host: address, port: PORT, noDelay: true });
  await once(control, 'connect');
  control.write(cookie);
  const reader = new Reader(control);
  // What is there counts, whatever its value.
  const parameters = {
    ...(udp ? { udp, bandwidth, len: DATAGRAM } : { tcp: true, len: 128 << 10 }),
    ...(reverse && { reverse }),
    ...{ omit: 0, time, parallel: 1, client_version: '3.12' },
  };
  let told = figures();
  let over = false;
  let data;
  let flow;
  for (;;) {
    const state = await reader.state();
    if (state === State.parameters) {
      tell(control, parameters);
    } else if (state === State.streams && udp) {
      let greeted;
      const greeting = new Promise((resolve) => (greeted = resolve));
      flow = host.udp({
        remote: { address, port: PORT },
        onMessage: (bytes) => (bytes.length > 4 ? hit(Buffer.from(bytes), told) : greeted(bytes)),
      });
      flow.send(HELLO);
      await greeting;
    } else if (state === State.streams) {
      data = dial({ host: address, port: PORT });
      await once(data, 'connect');
      data.write(cookie);
      data.on('error', () => {});
    } else if (state === State.start) {
      told = figures();
    } else if (state === State.running) {
      const isOver = () => over;
      if (udp && !reverse) void fire((bytes) => flow.send(bytes), told, DATAGRAM, bandwidth, isOver);
      else if (reverse) data && drink(data, told);
      else void pour(data, told, isOver);
      await sleep(time * 1000);
      over = true;
      told.ended = performance.now();
      say(control, State.end);
    } else if (state === State.exchange) {
      tell(control, resultOf(told, !reverse));
      const [theirs] = (await reader.json()).streams;
      const [here, there] = reverse ? ['received', 'sent'] : ['sent', 'received'];
      report(here, told, time);
      report(there, theirs, theirs.end_time - theirs.start_time || time);
    } else if (state === State.display) {
      say(control, State.done);
      break;
    } else if (state === State.denied) throw new Error('the server is busy');
    else throw new Error(`the server says ${state}`);
  }
  data?.destroy();
  flow?.close();
  control.end();
  // Only who reads sees the end.
  control.resume();
  await once(control, 'close');
}

// ── The server: one test at a time

function server() {
  /** The test that runs: its cookie, and who waits for a stream of it. */
  let test;
  new StackServer(host, async (socket) => {
    socket.on('error', () => {});
    const reader = new Reader(socket);
    try {
      const cookie = (await reader.take(COOKIE)).toString('latin1');
      if (test?.cookie === cookie) test.onStream(socket);
      else if (test) say(socket, State.denied);
      else {
        test = { cookie, onStream: () => {} };
        await serve(socket, reader, test).finally(() => {
          test = undefined;
        });
      }
    } catch (error) {
      console.log(String(error));
      socket.destroy();
    }
  }).listen(PORT);
  console.log(`listening on 10.9.0.2 port ${PORT}; Ctrl-C ends it`);
}

async function serve(control, reader, test) {
  say(control, State.parameters);
  const { udp = false, reverse = false, bandwidth = 1e6, parallel = 1, len = DATAGRAM } = await reader.json();
  if (udp && !(len >= 16 && len <= 65_000)) throw new Error(`found datagrams of ${len} bytes`);
  if (parallel !== 1) throw new Error(`found ${parallel} streams, expected one`);
  let told = figures();
  let over = false;
  const isOver = () => over;
  const stream = udp
    ? new Promise((resolve) => {
        const socket = host.udp({
          port: PORT,
          onMessage(bytes, from) {
            if (bytes.length > 4) hit(Buffer.from(bytes), told);
            else if (socket.send(ANSWER, from)) resolve({ socket, from });
          },
        });
        control.once('close', () => socket.close());
      })
    : new Promise((resolve) => {
        test.onStream = (socket) => resolve({ data: socket });
      });
  say(control, State.streams);
  const { data, socket, from } = await stream;
  say(control, State.start);
  told = figures();
  say(control, State.running);
  if (reverse && udp) void fire((bytes) => socket.send(bytes, from), told, len, bandwidth, isOver);
  else if (reverse) void pour(data, told, isOver);
  else if (data) drink(data, told);
  const state = await reader.state();
  over = true;
  if (state !== State.end) throw new Error(`the client says ${state}`);
  told.ended = performance.now();
  // The client waits for a whole block, or the end.
  data?.end();
  say(control, State.exchange);
  await reader.json();
  tell(control, resultOf(told, reverse));
  report(reverse ? 'sent' : 'received', told, (told.ended - told.started) / 1000);
  say(control, State.display);
  await reader.state();
  data?.destroy();
  control.end();
}

await net.start();
await configureInterface({ name: values.tun, addresses: ['10.9.0.1/24'], up: true });
const [what, address = '10.9.0.1'] = positionals;
if (what === 'server') {
  server();
  process.once('SIGINT', () => void net.close());
} else {
  try {
    await client(address);
  } finally {
    await net.close();
  }
}
