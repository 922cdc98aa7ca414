// Joins two interfaces and drops every frame of odd length that goes from the left to the right.
// As root: node examples/drop-odd.mjs veth0 veth1
import { once } from 'node:events';
import { liveRuntime, Network, packetSocket, reason } from 'tunconnector';

/** @import { App, Ports } from 'tunconnector' */

const OddLength = reason('odd-length');

/** @implements {App} */
export class DropOdd {
  /** @param {Ports} ports */
  push({ pool, input, output }) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet] & 1) pool.drop(packet, OddLength);
      else output.out.put(packet);
    }
  }
}

// Started, and not imported by drop-odd.test.mjs, which runs the same app without root and without interfaces.
if (import.meta.filename === process.argv[1]) {
  const [left, right] = process.argv.slice(2);
  if (!left || !right) {
    console.error('usage: node examples/drop-odd.mjs INTERFACE INTERFACE');
    process.exit(2);
  }

  const net = new Network(liveRuntime())
    .app('left', packetSocket({ interface: left }))
    .app('right', packetSocket({ interface: right }))
    .app('odd', new DropOdd())
    .link('left.out -> odd.in')
    .link('odd.out -> right.in')
    .link('right.out -> left.in');
  await net.start();
  console.log(`${left} and ${right} are joined; Ctrl-C ends it`);

  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  for (const { app, drops } of net.report().apps) {
    if (Object.keys(drops).length > 0) console.log(`${app} dropped`, drops);
  }
  await net.close();
}
