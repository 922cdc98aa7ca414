/** UDP of clients: a socket of this machine for each flow. */
import { formatIpAt } from '../packet/address.ts';
import type { Refusal } from '../stack/tcp/below.ts';
import type { FlowCaptor, FlowHandlers, UdpFlow } from '../stack/udp/flows.ts';
import type { Counts } from './counts.ts';
import { refusalOf } from './errors.ts';
import type { Outward, OutwardDatagrams } from './outward.ts';
import type { Reach } from './reach.ts';
import { Sources } from './sources.ts';

export interface UdpDeliveryLimits {
  flows: number;
  perSource: number;
  /** ns. */
  udp: number;
  udpQuestion: number;
}

export class UdpDelivery implements FlowCaptor {
  readonly limit: number;
  readonly idle: number;
  readonly idleQuestion: number;
  readonly #reach: Reach;
  readonly #outward: Outward;
  readonly #counts: Counts;
  readonly #sources: Sources;

  constructor(reach: Reach, outward: Outward, counts: Counts, limits: UdpDeliveryLimits) {
    this.limit = limits.flows;
    this.idle = limits.udp;
    this.idleQuestion = limits.udpQuestion;
    this.#reach = reach;
    this.#outward = outward;
    this.#counts = counts;
    this.#sources = new Sources(limits.perSource);
  }

  onFlow(flow: UdpFlow): FlowHandlers | Refusal | undefined {
    const counts = this.#counts;
    const target = this.#reach.find(flow.destination, flow.localPort);
    if (!target) {
      counts.prohibited++;
      return 'prohibited';
    }
    const source = flow.sourceAddress;
    if (!this.#sources.take(source)) {
      counts.refused++;
      return undefined;
    }
    counts.flows++;
    let socket: OutwardDatagrams | undefined;
    const end = () => {
      counts.flows--;
      this.#sources.release(source);
      socket?.close();
    };
    const address = formatIpAt(target.bytes, 0, target.bytes.length === 4 ? 4 : 6);
    socket = this.#outward.datagrams(address, target.port, {
      onMessage: (bytes) => {
        if (flow.send(bytes)) counts.datagramsDown++;
        else counts.datagramsLost++;
      },
      onError: (error) => {
        if (flow.closed) return;
        const why = error === 'ECONNREFUSED' ? 'port' : refusalOf(error);
        if (why) flow.refuse(why);
        if (why === 'port') return;
        // The next datagram may find another way.
        flow.close();
        end();
      },
    });
    return {
      onMessage: (bytes) => {
        if (socket.send(bytes)) counts.datagramsUp++;
        else counts.datagramsLost++;
      },
      onClosed: end,
    };
  }
}
