// What runs on the hosts of lab.yaml.
import { createHash } from 'node:crypto';
import { RegistryChannels } from 'tunconnector/sim';

export {
  egressProgram as egress,
  ingressProgram as ingress,
  rouletteProgram as roulette,
  vnfProgram as vnf,
} from 'tunconnector/sim';

const CHUNK = 64 << 10;
const sum = (hash, bytes) => `${bytes} bytes, SHA-256 ${hash.digest('hex').slice(0, 16)}`;

/** Sends a file of so many bytes, which the seed chooses, to whoever connects. */
export function server(host, { port, bytes }) {
  host.stack.listen({ port }, (connection) => {
    const content = host.runtime.random('file');
    const hash = createHash('sha256');
    const chunk = new Uint8Array(CHUNK);
    let sent = 0;
    let rest = new Uint8Array(0);
    const send = () => {
      while (rest.length > 0 || sent < bytes) {
        if (rest.length === 0) {
          rest = chunk.subarray(0, Math.min(CHUNK, bytes - sent));
          content.fill(rest);
          hash.update(rest);
          sent += rest.length;
        }
        const taken = connection.write(rest);
        rest = rest.subarray(taken);
        if (taken === 0) return;
      }
      if (sent < 0) return;
      host.log(`sent ${sum(hash, sent)}`);
      sent = Number.NEGATIVE_INFINITY;
      connection.end();
    };
    host.runtime.timer(host.runtime.now(), send);
    return { onWritable: send };
  });
}

/** Fetches it, from a time on. */
export function client(host, { server: address, port, at }) {
  host.runtime.timer(at * 1e9, () => {
    const hash = createHash('sha256');
    const into = new Uint8Array(CHUNK);
    let received = 0;
    const read = () => {
      for (let n = connection.read(into); n > 0; n = connection.read(into)) {
        received += n;
        hash.update(into.subarray(0, n));
      }
    };
    const connection = host.stack.connect(
      { address, port },
      {
        onReadable: read,
        onEnd: () => {
          read();
          host.log(`received ${sum(hash, received)}`);
          connection.end();
        },
        onClosed: (error) => error && host.log(`the connection is lost: ${error}`),
      },
    );
  });
}

/** Changes a chain, at a time. */
export function admin(host, { roulette, tenant, at, chain, functions }) {
  const registry = new RegistryChannels(host.runtime, tenant, [roulette]);
  host.runtime.timer(at * 1e9, () =>
    registry.request('chain.put', { spi: chain, functions }, (error) =>
      host.log(error ? `refused: ${error.message}` : `chain ${chain} is ${functions.join(', ')}`),
    ),
  );
}
