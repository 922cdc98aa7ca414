/**
 * A DHCP client (RFC 2131, 4.4) as a state machine: messages and time in, messages and leases out. It discovers, requests the
 * first offer, probes what it gets and declines what another station has, renews at its server, asks everybody when that is
 * silent, and begins anew when the lease has ended or was refused.
 */
import { SECOND } from '../../engine/units.ts';
import { emitMessage, type Heard, Kind, parseMessage } from './message.ts';

/** RFC 2131, 4.1: retransmissions after 4, 8, 16, 32, 64 s, each a second more or less. */
const FIRST_WAIT = 4;
const LONGEST_WAIT = 64;
/** REQUESTs that an offering server gets before it is given up. */
const REQUESTS = 4;
/** RFC 2131, 4.4.5: how often a lease is asked for again. */
const LEAST_WAIT = 60;
/** After a refusal, or an address that was declined: whoever gives nothing else is asked no more often (RFC 2131, 3.1). */
const AFTER_REFUSAL = 10;
/** RFC 5227, 1.1: MAX_CONFLICTS, after which an address is tried once in RATE_LIMIT_INTERVAL. */
const MOST_CONFLICTS = 10;
const AFTER_CONFLICTS = 60;
/** A lease of seconds would be renewed all the time. */
const SHORTEST_LEASE = 60;
const FOR_EVER = 0xffff_ffff;

export interface Lease {
  /** 4 bytes. */
  address: Uint8Array;
  prefixLength: number;
  /** The first is the gateway. */
  routers: Uint8Array[];
  nameservers: Uint8Array[];
  mtu: number | undefined;
  server: Uint8Array;
  /** ns since the runtime's start, or Infinity. */
  expires: number;
}

export interface DhcpParts {
  mac: Uint8Array;
  hostName?: string | undefined;
  /** ns. */
  now(): number;
  timer(at: number, callback: () => void): () => void;
  /** 32 bits that nobody can guess. */
  random(): number;
  /** Whether another station has the address, said once and later; returns what ends it. Without it nobody is asked. */
  probe?: ((address: Uint8Array, done: (taken: boolean) => void) => () => void) | undefined;
  /** Sends to port 67 of a server, or of everybody. */
  send(bytes: Uint8Array, to: Uint8Array | undefined): void;
  /** A lease came, was changed, or (undefined) has ended. */
  onLease(lease: Lease | undefined): void;
  /** An address was declined, since another station has it. */
  onDecline?(address: Uint8Array): void;
}

type State = 'init' | 'selecting' | 'requesting' | 'probing' | 'bound' | 'renewing' | 'rebinding';

export class DhcpClient {
  state: State = 'init';
  lease: Lease | undefined;
  /** Messages that were sent, and those that were no answer. */
  sent = 0;
  ignored = 0;
  refused = 0;
  /** Addresses that another station had. */
  declined = 0;
  readonly #parts: DhcpParts;
  #transaction = 0;
  #began = 0;
  #tries = 0;
  #offer: Heard | undefined;
  #renewAt = 0;
  #rebindAt = 0;
  /** Addresses that were declined since one proved good. */
  #conflicts = 0;
  #cancel: (() => void) | undefined;
  #isStopped = false;

  constructor(parts: DhcpParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#begin();
  }

  /** Gives the lease back (RFC 2131, 4.4.6) and ends. */
  stop(): void {
    this.#cancel?.();
    this.#isStopped = true;
    this.state = 'init';
    if (!this.lease) return;
    const { address, server } = this.lease;
    this.#send(Kind.Release, { client: address, server }, server);
    this.lease = undefined;
  }

  /** Another station keeps to the leased address, although it was told once whose that is (RFC 5227, 2.4 b). */
  conflict(): void {
    if (this.lease) this.#decline(this.lease);
  }

  /** A datagram came to port 68. */
  message(bytes: Uint8Array): void {
    const heard = parseMessage(bytes);
    const mine =
      heard !== undefined &&
      heard.transaction === this.#transaction &&
      heard.mac.every((byte, i) => byte === this.#parts.mac[i]);
    if (!mine || !this.#take(heard)) this.ignored++;
  }

  /** Whether the message meant something in this state. */
  #take(heard: Heard): boolean {
    if (this.state === 'selecting') return heard.kind === Kind.Offer && this.#choose(heard);
    if (this.state === 'init' || this.state === 'probing' || this.state === 'bound') return false;
    const server = this.state === 'requesting' ? this.#offer?.server : this.lease?.server;
    // When everybody was asked, everybody may answer.
    if (this.state !== 'rebinding' && !same(heard.server, server)) return false;
    if (heard.kind === Kind.Nak) {
      this.refused++;
      this.#lose();
      if (!this.#isStopped) this.#wait(AFTER_REFUSAL, () => this.#begin());
      return true;
    }
    return heard.kind === Kind.Ack && this.#bind(heard);
  }

  #begin(): void {
    this.state = 'selecting';
    this.#transaction = this.#parts.random();
    this.#began = this.#parts.now();
    this.#tries = 0;
    this.#offer = undefined;
    this.#discover();
  }

  #discover(): void {
    this.#send(Kind.Discover, {}, undefined);
    this.#wait(this.#backoff(), () => this.#discover());
  }

  /** Seconds until the next try, which is counted: 4, 8, ... 64, each a second more or less. */
  #backoff(): number {
    const wait = Math.min(FIRST_WAIT * 2 ** this.#tries++, LONGEST_WAIT);
    return wait - 1 + ((this.#parts.random() >>> 0) / 2 ** 32) * 2;
  }

  #choose(offer: Heard): boolean {
    if (!offer.server || !usable(offer)) return false;
    this.#offer = offer;
    this.state = 'requesting';
    this.#tries = 0;
    this.#request();
    return true;
  }

  #request(): void {
    if (this.#tries >= REQUESTS) {
      this.#begin();
      return;
    }
    const { address, server } = this.#offer!;
    this.#send(Kind.Request, { requested: address, server }, undefined);
    this.#wait(this.#backoff(), () => this.#request());
  }

  #bind(ack: Heard): boolean {
    const server = ack.server;
    if (!server || !usable(ack)) return false;
    const now = this.#parts.now();
    const forEver = ack.leaseTime === FOR_EVER;
    const span = Math.max(ack.leaseTime ?? 0, SHORTEST_LEASE);
    const within = (value: number | undefined, least: number, usual: number) =>
      value !== undefined && value >= least && value < span ? value : usual;
    const renew = within(ack.renew, SHORTEST_LEASE / 2, span / 2);
    const rebind = within(ack.rebind, renew, span * 0.875);
    const lease: Lease = {
      address: ack.address,
      prefixLength: ack.prefixLength ?? classful(ack.address),
      routers: ack.routers,
      nameservers: ack.nameservers,
      mtu: ack.mtu !== undefined && ack.mtu >= 576 ? ack.mtu : undefined,
      server,
      expires: forEver ? Number.POSITIVE_INFINITY : now + Math.round(span * SECOND),
    };
    this.#renewAt = forEver ? Number.POSITIVE_INFINITY : now + Math.round(renew * SECOND);
    this.#rebindAt = now + Math.round(Math.max(renew, rebind) * SECOND);
    this.#cancel?.();
    this.#cancel = undefined;
    const { probe } = this.#parts;
    if (same(this.lease?.address, lease.address)) {
      this.#conflicts = 0;
      this.#use(lease);
    } else if (probe) {
      this.state = 'probing';
      this.#cancel = probe(lease.address, (taken) => (taken ? this.#decline(lease) : this.#use(lease)));
    } else this.#use(lease);
    return true;
  }

  #use(lease: Lease): void {
    this.lease = lease;
    this.state = 'bound';
    if (this.#renewAt < Number.POSITIVE_INFINITY) this.#waitUntil(this.#renewAt, () => this.#renew());
    this.#parts.onLease(lease);
  }

  /** RFC 2131, 4.4.4. */
  #decline({ address, server }: Lease): void {
    this.declined++;
    this.#conflicts++;
    // First of all the address goes: nothing more is sent from it.
    this.#lose();
    if (this.#isStopped) return;
    this.#send(Kind.Decline, { requested: address, server }, undefined);
    this.#wait(this.#conflicts > MOST_CONFLICTS ? AFTER_CONFLICTS : AFTER_REFUSAL, () => this.#begin());
    this.#parts.onDecline?.(address);
  }

  #renew(): void {
    const lease = this.lease!;
    const now = this.#parts.now();
    if (now >= lease.expires) {
      this.#lose();
      this.#begin();
      return;
    }
    if (this.state === 'bound') {
      this.#transaction = this.#parts.random();
      this.#began = now;
    }
    this.state = now >= this.#rebindAt ? 'rebinding' : 'renewing';
    const end = this.state === 'rebinding' ? lease.expires : this.#rebindAt;
    this.#send(
      Kind.Request,
      { client: lease.address },
      this.state === 'rebinding' ? undefined : lease.server,
    );
    // Half of what is left, but not too often.
    const next = now + Math.max((end - now) / 2, LEAST_WAIT * SECOND);
    this.#waitUntil(Math.min(next, end), () => this.#renew());
  }

  #lose(): void {
    const had = this.lease;
    this.lease = undefined;
    this.state = 'init';
    if (had) this.#parts.onLease(undefined);
  }

  #send(
    kind: number,
    parts: { client?: Uint8Array; requested?: Uint8Array; server?: Uint8Array | undefined },
    to: Uint8Array | undefined,
  ): void {
    const { mac, hostName, now } = this.#parts;
    const seconds = Math.floor((now() - this.#began) / SECOND);
    this.sent++;
    this.#parts.send(
      emitMessage({ kind, transaction: this.#transaction, seconds, mac, hostName, ...parts }),
      to,
    );
  }

  #wait(seconds: number, then: () => void): void {
    this.#waitUntil(this.#parts.now() + Math.round(seconds * SECOND), then);
  }

  #waitUntil(time: number, then: () => void): void {
    this.#cancel?.();
    this.#cancel = this.#parts.timer(time, then);
  }
}

/** Whether a host can have what is offered. */
function usable({ address, prefixLength, leaseTime }: Heard): boolean {
  const first = address[0];
  if (leaseTime === undefined || leaseTime === 0) return false;
  if (prefixLength !== undefined && (prefixLength < 1 || prefixLength > 32)) return false;
  return first !== 0 && first !== 127 && first < 224;
}

/** RFC 791, 3.2: without a mask. */
const classful = ([first]: Uint8Array): number => (first < 128 ? 8 : first < 192 ? 16 : 24);

const same = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && a.every((byte, i) => byte === b[i]);
