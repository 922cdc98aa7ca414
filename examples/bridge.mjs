// A bridge between two interfaces that also writes what comes from the left into a capture file. As root:
//   node examples/bridge.mjs veth0 veth1 left.pcapng
// The Tee gives each packet to two apps without copying it. To look into a network without changing it, there is
// captureToFile(net, 'left.out', 'left.pcapng').
import { once } from 'node:events';
import { closeSync, openSync, writeSync } from 'node:fs';
import { liveRuntime, Network, packetSocket, tee } from 'tunconnector';
import { LinkType, PcapngWriter } from 'tunconnector/packet';

/** @import { App, AppContext, Layer, Ports } from 'tunconnector' */

/**
 * Writes the frames that reach it.
 * @implements {App}
 */
class Recorder {
  /** @type {Readonly<Record<string, Layer>>} */
  layers = { in: 'L2' };

  /** @param {string} file */
  constructor(file) {
    this.file = openSync(file, 'w', 0o600);
  }

  /** @param {AppContext} context */
  open({ runtime }) {
    const sink = (/** @type {Uint8Array} */ bytes) => void writeSync(this.file, bytes);
    this.writer = new PcapngWriter({ sink, epochNs: runtime.startOfTime });
    this.left = this.writer.addInterface({ name: 'left', linkType: LinkType.Ethernet });
  }

  /** @param {Ports} ports */
  push({ pool, input, now }) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      const length = pool.length[packet];
      this.writer?.packet(this.left ?? 0, now, pool.slab, pool.offset[packet], length, length);
      pool.free(packet);
    }
  }

  close() {
    this.writer?.end();
    closeSync(this.file);
  }
}

const [left, right, file] = process.argv.slice(2);
if (!left || !right || !file) {
  console.error('usage: node examples/bridge.mjs INTERFACE INTERFACE FILE');
  process.exit(2);
}

const net = new Network(liveRuntime())
  .app('left', packetSocket({ interface: left }))
  .app('right', packetSocket({ interface: right }))
  .app('tee', tee({}))
  .app('recorder', new Recorder(file))
  .link('left.out -> tee.in')
  .link('tee.through -> right.in')
  .link('tee.copy -> recorder.in')
  .link('right.out -> left.in');
await net.start();
console.log(`${left} and ${right} are joined; Ctrl-C ends it`);

await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
for (const { link, packets } of net.report().links) console.log(`${link}: ${packets} packets`);
await net.close();
