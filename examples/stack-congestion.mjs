// A congestion control of your own beside CUBIC and NewReno, over 20 Mbit/s with 40 ms each way and a queue of 300 packets: goodput, and how long
// packets wait. In virtual time, so that it needs no root and says the same every time: node stack-congestion.mjs

import { Network, VirtualRuntime } from 'tunconnector';
import { impair } from 'tunconnector/impair';
import { Stack } from 'tunconnector/stack';

const SECONDS = 20;

/**
 * In the manner of Vegas: what is in flight beyond the shortest round trip waits in a queue. Two to four segments of that are enough.
 */
class Shy {
  name = 'shy';

  acked(window, bytes) {
    const { cwnd, mss, srtt, minRtt } = window;
    const waiting = srtt === 0 ? 0 : (cwnd * (srtt - minRtt)) / srtt / mss;
    if (cwnd < window.ssthresh) {
      if (waiting < 4) window.cwnd += bytes;
      else window.ssthresh = cwnd;
    } else if (waiting < 2) {
      window.cwnd += Math.trunc((mss * bytes) / cwnd);
    } else if (waiting > 4) {
      window.cwnd -= Math.min(Math.trunc((mss * bytes) / cwnd), cwnd - 2 * mss);
    }
  }

  reduce(window, flight) {
    return Math.max(Math.trunc(flight / 2), 2 * window.mss);
  }
}

async function run(congestion) {
  const host = (address) => new Stack({ interfaces: [{ name: 'eth0', addresses: [address] }] });
  const [a, b] = [host('10.0.0.1/24'), host('10.0.0.2/24')];
  const runtime = new VirtualRuntime({ seed: 1 });
  const bottleneck = [
    { kind: 'rate', rate: '20mbit', queue: { discipline: 'droptail', limit: 300 } },
    { kind: 'delay', time: '40ms' },
  ];
  const net = new Network(runtime, { memory: 256 << 20 })
    .app('a', a)
    .app('b', b)
    .app('there', impair({ stages: bottleneck }))
    .app('back', impair({ stages: [{ kind: 'delay', time: '40ms' }] }))
    .link('a.eth0 -> there.in')
    .link('there.out -> b.eth0')
    .link('b.eth0 -> back.in')
    .link('back.out -> a.eth0');
  await net.start();
  let received = 0;
  b.listen({ port: 5000 }, (connection) => ({
    onReadable: () => {
      received += connection.read(new Uint8Array(connection.readable));
    },
  }));
  const chunk = new Uint8Array(8 << 20);
  // As much as is taken, and again when there is room.
  const fill = () => connection.write(chunk);
  const to = { address: '10.0.0.2', port: 5000, congestion };
  const connection = a.connect(to, { onConnected: fill, onWritable: fill });
  let slowest = 0;
  for (let second = 0; second < SECONDS; second++) {
    runtime.advance('1s');
    // Slow start is over by then.
    if (second >= 5) slowest = Math.max(slowest, connection.figures().srtt);
  }
  const { retransmissions } = connection.figures();
  await net.close();
  return {
    'Mbit/s': Number(((received * 8) / SECONDS / 1e6).toFixed(1)),
    'RTT, ms': Math.round(slowest / 1e6),
    retransmissions,
  };
}

console.table({ cubic: await run('cubic'), newreno: await run('newreno'), shy: await run(() => new Shy()) });
