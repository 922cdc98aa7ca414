/** What programs of a simulated host have of the world: UDP and TCP of the host's own stack, and its disk. */
import {
  type Channel,
  type ChannelHandlers,
  type ConnectOptions,
  type DatagramHandlers,
  type DatagramOptions,
  type DatagramSocket,
  DEFAULT_CONNECT_TIMEOUT,
  DEFAULT_MAX_CHANNELS,
  isPath,
  type Listener,
  type ListenHandlers,
  type ListenOptions,
  limitsOf,
  maxDatagram,
  type Outside,
  parsePlace,
  type Storage,
} from '../../engine/outside.ts';
import type { Runtime } from '../../engine/runtime.ts';
import type { VirtualDisk } from '../../engine/virtual-storage.ts';
import { TunconnectorError } from '../../errors.ts';
import { formatIp, isUnspecified } from '../../packet/address.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../../packet/prefix.ts';
import type { Stack } from '../../stack/stack.ts';
import { StackChannel } from './stack-channel.ts';

/** What is needed of the host: both are there as soon as programs run. */
export interface OutsideHost {
  readonly stack: Stack;
  readonly runtime: Pick<Runtime, 'now' | 'timer'>;
}

export class StackOutside implements Outside {
  readonly #host: OutsideHost;
  readonly #disk: VirtualDisk;

  constructor(host: OutsideHost, disk: VirtualDisk) {
    this.#host = host;
    this.#disk = disk;
  }

  /** What waits to be sent is the stack's; there is no queue here that could be full. */
  datagrams(bind: string, handlers: DatagramHandlers, _options?: DatagramOptions): DatagramSocket {
    const { stack, runtime } = this.#host;
    const { address, port } = parseEndpoint(bind);
    const counters = { sent: 0, received: 0, dropped: 0, failed: 0 };
    const later = (error: TunconnectorError) => {
      counters.failed++;
      runtime.timer(runtime.now(), () => {
        if (!socket.closed) handlers.onError?.(error);
      });
    };
    const socket = stack.udp({
      ...(!isUnspecified(address) && { address: formatIp(address) }),
      ...(port !== 0 && { port }),
      onMessage: (bytes, from) => {
        counters.received++;
        handlers.onMessage(String(from), bytes);
      },
      onError: (error, to) => {
        if (error.errno === 'ECONNREFUSED') handlers.onRefused?.(String(to));
        else handlers.onError?.(error);
      },
    });
    return {
      address: formatEndpoint({ address, port: socket.port }),
      counters,
      send: (to, bytes) => {
        const { address: target, port: at } = parseEndpoint(to);
        if (socket.closed) return;
        const refused = (why: string) =>
          later(new TunconnectorError('ERR_SOCKET', `nothing can be sent to ${to}: ${why}`));
        if (at === 0) return refused('port 0 is nobody’s');
        if (bytes.length > maxDatagram(target.family)) return refused('it is too long');
        if (socket.send(bytes, { address: formatIp(target), port: at })) counters.sent++;
        else if (stack.reaches(target)) counters.dropped++;
        else refused('no route leads there');
      },
      close: () => socket.close(),
    };
  }

  listen(bind: string, handlers: ListenHandlers, options: ListenOptions = {}): Listener {
    const place = inet(bind);
    const { stack, runtime } = this.#host;
    const limits = limitsOf(options);
    const most = options.maxChannels ?? DEFAULT_MAX_CHANNELS;
    let open = 0;
    let closed = false;
    let close = () => {};
    const listener = {
      address: '',
      close: () => {
        closed = true;
        close();
      },
    };
    runtime.timer(runtime.now(), () => {
      if (closed) return;
      try {
        const tcp = stack.listen(
          { ...(!isUnspecified(place.address) && { address: formatIp(place.address) }), port: place.port },
          (connection) => {
            if (open >= most) return undefined;
            const peer = formatEndpoint(
              parseEndpoint(endpointText(connection.remoteAddress, connection.remotePort)),
            );
            const channel = new StackChannel(runtime, peer, limits, () => void open--);
            const wanted = handlers.onChannel(channel);
            if (!wanted) return undefined;
            open++;
            channel.open(connection, wanted);
            return channel.tcp;
          },
        );
        close = () => tcp.close();
        listener.address = formatEndpoint({ address: place.address, port: tcp.port });
        handlers.onListening?.(listener.address);
      } catch (error) {
        if (!(error instanceof TunconnectorError)) throw error;
        handlers.onError?.(error);
      }
    });
    return listener;
  }

  connect(to: string, handlers: ChannelHandlers, options: ConnectOptions = {}): Channel {
    const { address, port } = inet(to);
    const { stack, runtime } = this.#host;
    const local = options.bind === undefined ? undefined : parseEndpoint(options.bind);
    const channel = new StackChannel(runtime, formatEndpoint({ address, port }), limitsOf(options));
    try {
      const connection = stack.connect(
        {
          address,
          port,
          ...(local && !isUnspecified(local.address) && { localAddress: local.address }),
          ...(local && local.port !== 0 && { localPort: local.port }),
        },
        channel.tcp,
      );
      channel.open(connection, handlers);
      channel.patience(options.timeout ?? DEFAULT_CONNECT_TIMEOUT);
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      channel.refuse(handlers, error);
    }
    return channel;
  }

  storage(name: string): Storage {
    return this.#disk.storage(name);
  }
}

const endpointText = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** @throws ERR_ADDRESS, ERR_CONFIG for a Unix socket, of which a simulated host has none */
function inet(text: string): Endpoint {
  const place = parsePlace(text);
  if (!isPath(place)) return place;
  throw new TunconnectorError('ERR_ADDRESS', `found the path ${text}, expected an address and a port`, {
    remedy: 'simulated hosts have no Unix sockets',
  });
}
