/** Pings of clients: a socket of this machine for each flow. */
import { formatIpAt } from '../packet/address.ts';
import * as icmp from '../packet/icmp.ts';
import * as icmpv6 from '../packet/icmpv6.ts';
import type { EchoCaptor, EchoFlow, EchoHandlers } from '../stack/echo/flows.ts';
import type { Refusal } from '../stack/tcp/below.ts';
import type { Counts } from './counts.ts';
import { refusalOf } from './errors.ts';
import type { EchoError, Outward, OutwardEchoes } from './outward.ts';
import type { Reach } from './reach.ts';
import { Sources } from './sources.ts';

/** ns: RFC 5508, REQ-3. */
const IDLE = 60e9;

export interface EchoDeliveryLimits {
  flows: number;
  perSource: number;
}

export class EchoDelivery implements EchoCaptor {
  readonly limit: number;
  readonly idle = IDLE;
  readonly #reach: Reach;
  readonly #outward: Outward;
  readonly #counts: Counts;
  readonly #sources: Sources;

  constructor(reach: Reach, outward: Outward, counts: Counts, limits: EchoDeliveryLimits) {
    this.limit = limits.flows;
    this.#reach = reach;
    this.#outward = outward;
    this.#counts = counts;
    this.#sources = new Sources(limits.perSource);
  }

  onEcho(flow: EchoFlow): EchoHandlers | Refusal | undefined {
    const counts = this.#counts;
    const target = this.#reach.find(flow.destination, 0);
    if (!target) {
      counts.prohibited++;
      return 'prohibited';
    }
    const source = flow.sourceAddress;
    if (!this.#sources.take(source)) {
      counts.refused++;
      return undefined;
    }
    const address = formatIpAt(target.bytes, 0, target.bytes.length === 4 ? 4 : 6);
    let socket: OutwardEchoes | undefined;
    const end = () => {
      counts.pings--;
      this.#sources.release(source);
      socket?.close();
    };
    const opened = this.#outward.echoes(address, {
      onReply: (sequence, data, ttl) => {
        if (flow.reply(sequence, data, Math.max(ttl - 1, 1))) counts.echoesDown++;
        else counts.echoesLost++;
      },
      onError: (sequence, error) => tell(flow, target.bytes, sequence, error),
      onFailed: () => {
        if (flow.closed) return;
        flow.close();
        end();
      },
    });
    if (typeof opened === 'string') {
      this.#sources.release(source);
      if (opened === 'EPERM' || opened === 'EACCES') counts.pingsNotAllowed++;
      else counts.echoesLost++;
      return refusalOf(opened);
    }
    socket = opened;
    counts.pings++;
    return {
      onRequest: (sequence, data, ttl) => {
        const error = opened.send(sequence, data, ttl);
        if (error === undefined) {
          counts.echoesUp++;
          return;
        }
        counts.echoesLost++;
        const why = refusalOf(error);
        if (!why) return;
        flow.refuse(sequence, why);
        // The next request may find another way.
        flow.close();
        end();
      },
      onClosed: end,
    };
  }
}

/** What routers, and the host itself, say of a request. That one is too long the kernel has learned, and cuts the next. */
function tell(flow: EchoFlow, target: Uint8Array, sequence: number, { type, code, from }: EchoError): void {
  const four = target.length === 4;
  if (four && type === icmp.Type.Unreachable && code === icmp.Unreachable.FragmentationNeeded) return;
  const unreachable = four ? icmp.Type.Unreachable : icmpv6.Type.Unreachable;
  const expired = four ? icmp.Type.TimeExceeded : icmpv6.Type.TimeExceeded;
  if (type !== unreachable && type !== expired) return;
  // Clients know the host by another address, perhaps; and no packet comes from a loopback address.
  const isTarget = from.every((byte, i) => byte === target[i]);
  flow.fail(sequence, type, code, isTarget || isLoopback(from) ? undefined : from);
}

const isLoopback = (address: Uint8Array): boolean =>
  address.length === 4 ? address[0] === 127 : address.every((byte, i) => byte === (i === 15 ? 1 : 0));
