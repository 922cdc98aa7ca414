// Two UDP sockets with a bad network between them: round trips over 50 ms and 10 % of loss each way. No root needed.
// Run: node examples/impaired-sockets.mjs
import { impairedSockets } from 'tunconnector/testing';

const link = await impairedSockets({ both: 'delay 50ms 5ms loss 10%', seed: 7 });
const { a, b, toB } = link;
b.on('message', (text, from) => b.send(text, from.port, from.address));

const sent = new Map();
/** @type {number[]} */
const trips = [];
a.on('message', (text) => trips.push(performance.now() - (sent.get(`${text}`) ?? 0)));
for (let n = 0; n < 50; n++) {
  sent.set(`${n}`, performance.now());
  a.send(`${n}`, toB.port, toB.address);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
await new Promise((resolve) => setTimeout(resolve, 300));

const mean = trips.reduce((sum, trip) => sum + trip, 0) / trips.length;
console.log(`${trips.length} of 50 came back, after ${mean.toFixed(1)} ms`);
for (const [direction, { pipelines }] of Object.entries(link.inspect())) {
  for (const { name, packets, drops } of pipelines[0]?.stages ?? []) {
    console.log(`${direction} ${name}: ${packets} packets, ${drops.loss ?? 0} lost`);
  }
}
await link.close();
