/** How the control protocol reaches the world: datagrams become packets on the outside link, events go to the owner. */
import { describeRow } from '../engine/address-book.ts';
import type { AppContext } from '../engine/app.ts';
import type { Link } from '../engine/link.ts';
import { COMMON_ACCOUNT, PacketFlag } from '../native/binding.ts';
import { formatIp } from '../packet/address.ts';
import { formatPrefix } from '../packet/prefix.ts';
import type { ControlOut, TunnelEvent } from './control/session.ts';
import { TunnelDrop } from './reasons.ts';

/** A tunnel's event as its owner sees it: words and numbers. */
export interface TunnelNotice {
  type: TunnelEvent['type'];
  /** ns since the start. */
  time: number;
  session: number;
  /** The peer's outer address, `192.168.6.9:55555`. */
  outer: string;
  /** Inner addresses of the peer. */
  addresses: string[];
  /** Networks behind the peer. */
  networks: string[];
  reason: string;
  text: string;
  /** Largest datagram that reaches the peer, bytes of UDP payload. */
  datagram: number;
  [key: string]: unknown;
}

export class ControlLink implements ControlOut {
  readonly #context: AppContext;
  readonly #onEvent: (event: TunnelEvent) => void;
  /** Where messages go; set before the control protocol runs. Without it nobody hears them. */
  out: Link | undefined;

  /** @param onEvent is told every event before the owner is */
  constructor(context: AppContext, onEvent: (event: TunnelEvent) => void) {
    this.#context = context;
    this.#onEvent = onEvent;
  }

  send(peer: number, bytes: Uint8Array, length: number, fragmentable: boolean): void {
    const { pool } = this.#context;
    if (!this.out) return;
    const packet = pool.copyIn(bytes.subarray(0, length), 0, COMMON_ACCOUNT);
    if (packet < 0) {
      pool.countDrops(TunnelDrop.NoMemory, 1);
      return;
    }
    pool.peer[packet] = peer;
    if (fragmentable) pool.flags[packet] |= PacketFlag.MayFragment;
    this.out.put(packet);
  }

  pin(peer: number): number {
    const { addresses } = this.#context.pool;
    return addresses.pinnedRoom > 0 ? addresses.pin(peer) : -1;
  }

  unpin(peer: number): void {
    this.#context.pool.addresses.unpin(peer);
  }

  address(peer: number): Uint8Array {
    return this.#context.pool.addresses.copyRow(peer);
  }

  event(event: TunnelEvent): void {
    this.#onEvent(event);
    const notice: TunnelNotice = {
      type: event.type,
      time: event.time,
      session: event.session,
      outer: describeRow(event.outer),
      addresses: event.addresses.map((p) => formatIp(p.address)),
      networks: event.networks.map(formatPrefix),
      reason: event.reason,
      text: event.text,
      datagram: event.mtu,
    };
    this.#context.emit(notice);
  }
}
