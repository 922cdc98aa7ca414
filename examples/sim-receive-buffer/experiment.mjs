// TCP over one path, as the literature on multipath TCP begins with it (Raiciu et al., NSDI 2012): goodput against the receive buffer over a
// link like WiFi and one like 3G, and against loss, with what theory says of both. In virtual time.
//
//     node examples/sim-receive-buffer/experiment.mjs        # a minute; tables, and two pictures beside it
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { plot, Simulation } from 'tunconnector/sim';

/** bit/s, seconds there and back, and seconds that the queue in front of the link holds. */
export const PATHS = {
  WiFi: { rate: 8e6, rtt: 0.02, queue: 0.08 },
  '3G': { rate: 2e6, rtt: 0.15, queue: 2 },
};
/** Payload and length of a whole segment: bytes. */
const MSS = 1448;
const PACKET = 1500;

/** Runs one transfer for so many seconds and returns its goodput: bit/s. */
async function transfer(impair, flow, seconds, seed = 1) {
  const sim = await Simulation.start({
    seed,
    hosts: { sender: {}, receiver: {} },
    links: { path: { between: ['sender 10.0.0.1/24', 'receiver 10.0.0.2/24'], impair } },
    flows: { bulk: { kind: 'tcp', from: 'sender', to: 'receiver', ...flow } },
  });
  await sim.run(seconds * 1e9);
  const [{ goodput }] = sim.flows;
  await sim[Symbol.asyncDispose]();
  return goodput;
}

const link = ({ rate, rtt, queue }) => [
  { kind: 'rate', rate, queue: { discipline: 'droptail', limitBytes: Math.round((rate * queue) / 8) } },
  { kind: 'delay', time: `${(rtt / 2) * 1000}ms` },
];

/** Goodput with a receive buffer of so many bytes. */
export const measured = (name, receiveBuffer, seconds = 60) =>
  transfer({ both: link(PATHS[name]) }, { receiveBuffer }, seconds);

/**
 * As many whole segments as the buffer holds, for each round trip; at most what the link carries. Every second segment is acknowledged, so
 * that a round trip is longer by the time that two take on the link.
 */
export function expected(name, receiveBuffer) {
  const { rate, rtt } = PATHS[name];
  const roundTrip = rtt + (2 * PACKET * 8) / rate;
  return Math.min((rate * MSS) / PACKET, (Math.floor(receiveBuffer / MSS) * MSS * 8) / roundTrip);
}

export const RTT = 0.1;
/** Goodput of NewReno where so many packets are lost, by chance. */
export const lossy = (loss, seconds = 300, seed = 1) =>
  transfer(
    { up: `delay 50ms loss ${loss * 100}%`, down: 'delay 50ms' },
    { congestion: 'newreno' },
    seconds,
    seed,
  );

/** Mathis et al. 1997. C is the root of 3/2: this TCP counts the bytes that are acknowledged, and not the acknowledgements (RFC 3465). */
export const mathis = (loss) => (Math.sqrt(3 / 2) * MSS * 8) / (RTT * Math.sqrt(loss));

const BUFFERS = [8, 16, 32, 64, 128, 256, 512].map((kilobytes) => kilobytes * 1024);
const LOSSES = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02];

async function main() {
  const lines = [];
  for (const name of Object.keys(PATHS)) {
    const [points, theory] = [[], []];
    for (const buffer of BUFFERS) {
      const [is, shall] = [await measured(name, buffer), expected(name, buffer)];
      points.push([buffer / 1024, is]);
      theory.push([buffer / 1024, shall]);
      say(name, `${buffer / 1024} kB`, is, shall);
    }
    const colour = lines.length / 2;
    lines.push({ name: `${name}, measured`, points, dots: true, colour });
    lines.push({ name: `${name}, theory`, points: theory, colour });
  }
  const axes = { y: 'goodput (bit/s)', logX: true, logY: true };
  write('goodput.svg', { title: 'TCP over one path', x: 'receive buffer (kB)', lines, ...axes });
  const [points, theory] = [[], []];
  for (const loss of LOSSES) {
    const [is, shall] = [await lossy(loss), mathis(loss)];
    points.push([loss * 100, is]);
    theory.push([loss * 100, shall]);
    say('loss', `${loss * 100} %`, is, shall);
  }
  const both = [
    { name: 'NewReno, measured', points, dots: true },
    { name: 'Mathis et al.', points: theory, colour: 0 },
  ];
  write('loss.svg', { title: 'Round trip of 100 ms', x: 'loss (%)', lines: both, ...axes });
}

const say = (what, at, is, shall) =>
  console.log(
    `${what} ${at}: ${(is / 1e6).toFixed(2)} Mbit/s, ${(is / shall).toFixed(2)} of ${(shall / 1e6).toFixed(2)}`,
  );
const write = (file, panel) => writeFileSync(path.join(import.meta.dirname, file), plot([panel]));

if (process.argv[1] === import.meta.filename) await main();
