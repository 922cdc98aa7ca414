/**
 * Sockets of this machine that send echo requests. Node has none; these are the addon's, and one poller of the thread says
 * when something has come to them.
 */
import { randomInt } from 'node:crypto';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { PING_CELLS, type PingHandle, PingInfo, PollEvent } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { parseIp } from '../packet/address.ts';
import * as icmp from '../packet/icmp.ts';
import * as icmpv6 from '../packet/icmpv6.ts';
import type { OutwardEchoes, OutwardEchoHandlers } from './outward.ts';

/** Longer than any message. */
const READ = new Uint8Array(66_000);
const INFO = new Int32Array(PING_CELLS);
const FROM = new Uint8Array(16);
/** Messages of one socket in a row; the others have their turn then. */
const AT_ONCE = 32;
const READY_PAIRS = 64;

const sockets = new Map<number, LivePing>();
const identifiers = new Set<number>();
let poller: Poller | undefined;

/** Says which of the sockets have something. There as long as there are any. */
class Poller {
  readonly #ready = new Int32Array(READY_PAIRS * 2);
  readonly #id = native().pollerOpen(this.#ready);

  constructor() {
    native().pollerWatch(
      this.#id,
      (ready) => {
        // One may close another.
        for (let i = 0; i < ready; i++) sockets.get(this.#ready[2 * i]!)?.read();
      },
      false,
    );
    native().pollerRef(this.#id, false);
  }

  add(fd: number): void {
    native().pollerAdd(this.#id, fd, fd, PollEvent.read);
  }

  remove(fd: number): void {
    native().pollerRemove(this.#id, fd);
  }

  close(): void {
    native().pollerClose(this.#id);
  }
}

/** A socket for echo requests to one host. @returns Node's code when there is none to be had */
export function livePing(address: string, handlers: OutwardEchoHandlers): LivePing | string {
  const { family, bytes } = parseIp(address);
  const padded = new Uint8Array(16);
  padded.set(bytes);
  try {
    return new LivePing(family, native().pingOpen({ family, address: padded, scope: 0 }), handlers);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'EIO';
  }
}

class LivePing implements OutwardEchoes {
  readonly #family: 4 | 6;
  readonly #handle: PingHandle;
  readonly #handlers: OutwardEchoHandlers;
  readonly #identifier: number;
  readonly #rawFour: number;
  #ttl = -1;
  #closed = false;

  constructor(family: 4 | 6, handle: PingHandle, handlers: OutwardEchoHandlers) {
    this.#family = family;
    this.#handle = handle;
    this.#handlers = handlers;
    this.#rawFour = handle.raw && family === 4 ? 1 : 0;
    this.#identifier = handle.raw ? freshIdentifier() : handle.identifier;
    poller ??= new Poller();
    sockets.set(handle.fd, this);
    poller.add(handle.fd);
  }

  send(sequence: number, data: Uint8Array, ttl: number): string | undefined {
    if (this.#closed) return 'EBADF';
    const message = new Uint8Array(icmp.HEADER + data.length);
    const rest = this.#identifier * 0x10000 + sequence;
    if (this.#family === 4) icmp.emit({ type: icmp.Type.Echo, code: 0, rest, body: data }, message);
    else icmpv6.emit({ type: icmpv6.Type.Echo, code: 0, rest, body: data }, message);
    const { fd } = this.#handle;
    let done = 0;
    if (ttl !== this.#ttl) done = native().pingTtl(fd, this.#family, ttl);
    if (done === 0) {
      this.#ttl = ttl;
      done = native().pingSend(fd, message);
    }
    return done === 0 ? undefined : getSystemErrorName(done);
  }

  read(): void {
    for (let left = AT_ONCE; left > 0 && !this.#closed; left--) {
      const length = native().pingReceive(this.#handle.fd, this.#rawFour, READ, INFO, FROM);
      if (length < 0) {
        // There must be no turn without end for what nobody can read.
        if (length !== -constants.errno.EAGAIN) this.#failed(getSystemErrorName(length));
        return;
      }
      const start = INFO[PingInfo.start]!;
      if (length - start >= icmp.HEADER && icmp.identifier(READ, start) === this.#identifier)
        this.#take(start, length);
    }
  }

  #take(start: number, length: number): void {
    const sequence = icmp.sequence(READ, start);
    if (INFO[PingInfo.isError] === 0) {
      const reply = this.#family === 4 ? icmp.Type.EchoReply : icmpv6.Type.EchoReply;
      if (READ[start] !== reply) return;
      this.#handlers.onReply(sequence, READ.slice(start + icmp.HEADER, length), INFO[PingInfo.ttl]!);
      return;
    }
    const [type, code, from] = [INFO[PingInfo.type]!, INFO[PingInfo.code]!, INFO[PingInfo.from]!];
    // Of one that was made here the send has told.
    if (from !== this.#family) return;
    this.#handlers.onError(sequence, { type, code, from: FROM.slice(0, from === 4 ? 4 : 16) });
  }

  #failed(error: string): void {
    this.close();
    this.#handlers.onFailed(error);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { fd, raw } = this.#handle;
    sockets.delete(fd);
    poller?.remove(fd);
    native().close(fd);
    if (raw) identifiers.delete(this.#identifier);
    if (sockets.size > 0) return;
    poller?.close();
    poller = undefined;
  }
}

/** One that no other raw socket of this process has. There are always some left: no process has as many descriptors. */
function freshIdentifier(): number {
  let identifier = randomInt(1, 65_536);
  while (identifiers.has(identifier)) identifier = randomInt(1, 65_536);
  identifiers.add(identifier);
  return identifier;
}
