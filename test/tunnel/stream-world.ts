/** TCP in virtual time: listeners and connections with bounded buffers, and a path that can be cut. */
import { constants } from 'node:os';
import { encodeRow } from '../../src/engine/address-book.ts';
import type { Driven, Driver, Watch } from '../../src/engine/runtime.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import type { TcpOptions } from '../../src/native/binding.ts';
import type { StreamSockets } from '../../src/tunnel/stream/connection.ts';

const { EAGAIN, ECONNREFUSED, ECONNRESET, ENETUNREACH, EMFILE } = constants.errno;

class FakeWatch implements Watch {
  readable = false;
  writable = true;
  failed = false;
  awaits = false;
  readonly onReady: () => void;

  constructor(onReady: () => void) {
    this.onReady = onReady;
  }

  awaitWritable(): void {
    this.writable = false;
    this.awaits = true;
  }

  note(event: 'readable' | 'writable' | 'failed'): void {
    if (event === 'writable' && !this.awaits) return;
    this[event] = true;
    if (event === 'failed') this.readable = this.writable = true;
    this.onReady();
  }

  close(): void {}
}

class Socket {
  watch: FakeWatch | undefined;
  peer: Socket | undefined;
  received: number[] = [];
  /** Bytes this end can hold unread. */
  capacity = 1 << 20;
  ended = false;
  error = 0;
  closed = false;
  waiting: Socket[] = [];
}

/** The runtime of the app under test. Watches are told through `SocketWorld`. */
export class SocketRuntime extends VirtualRuntime {
  readonly world = new SocketWorld();

  override drive(network: Driven): Driver {
    const driver = super.drive(network);
    return {
      wake: () => driver.wake(),
      stop: () => driver.stop(),
      watch: (fd, onReady) => {
        const socket = this.world.socket(fd);
        socket.watch = new FakeWatch(() => {
          onReady();
          driver.wake();
        });
        if (socket.received.length > 0 || socket.ended) socket.watch.note('readable');
        return socket.watch;
      },
    };
  }
}

/** One end of a connection, in the hands of the test. */
export class TestPeer {
  readonly #world: SocketWorld;
  readonly socket: Socket;

  constructor(world: SocketWorld, socket: Socket) {
    this.#world = world;
    this.socket = socket;
  }

  send(bytes: Uint8Array): void {
    this.#world.deliver(this.socket.peer!, bytes);
  }

  /** Everything that came since. */
  take(): Uint8Array {
    const bytes = Uint8Array.from(this.socket.received.splice(0));
    this.socket.peer?.watch?.note('writable');
    return bytes;
  }

  close(): void {
    this.#world.hangUp(this.socket);
  }

  get ended(): boolean {
    return this.socket.ended;
  }
}

export class SocketWorld implements StreamSockets {
  readonly #sockets: (Socket | undefined)[] = [];
  /** What the app under test listens with. */
  listener: Socket | undefined;
  /** What becomes of the next `tcpConnect`: someone answers, nobody does, it is refused, there is no route. */
  answer: 'accept' | 'silence' | 'refuse' | 'unreachable' = 'accept';
  /** The app's connection attempts: options, and the other end once it is accepted. */
  readonly attempts: { options: TcpOptions; peer: TestPeer | undefined }[] = [];
  /** Of the app's next sockets: bytes the kernel takes in one write, and in all. */
  writeLimit = 1 << 20;
  sendCapacity = 1 << 20;
  descriptorsLeft = 100;
  #port = 40_000;

  socket(fd: number): Socket {
    const found = this.#sockets[fd];
    if (!found) throw new Error(`descriptor ${fd} is not open`);
    return found;
  }

  get open(): number {
    return this.#sockets.filter((each) => each !== undefined).length;
  }

  #add(socket: Socket): number {
    this.#sockets.push(socket);
    return this.#sockets.length - 1;
  }

  // ── what the test does

  /** Somebody connects to the app under test. */
  connect(): TestPeer {
    const [near, far] = this.#pair();
    this.listener!.waiting.push(near);
    this.listener!.watch!.note('readable');
    return new TestPeer(this, far);
  }

  deliver(to: Socket, bytes: Uint8Array): void {
    for (const byte of bytes) to.received.push(byte);
    to.watch?.note('readable');
  }

  hangUp(socket: Socket): void {
    socket.closed = true;
    if (!socket.peer) return;
    socket.peer.ended = true;
    socket.peer.watch?.note('readable');
  }

  fail(socket: Socket, errno: number): void {
    socket.error = errno;
    socket.watch?.note('failed');
  }

  #pair(): [Socket, Socket] {
    const [near, far] = [new Socket(), new Socket()];
    near.peer = far;
    far.peer = near;
    far.capacity = this.sendCapacity;
    return [near, far];
  }

  // ── what the app under test calls

  tcpListen(options: TcpOptions): { fd: number; port: number } {
    this.listener = new Socket();
    return { fd: this.#add(this.listener), port: options.port };
  }

  tcpConnect(options: TcpOptions): number {
    const attempt: { options: TcpOptions; peer: TestPeer | undefined } = { options, peer: undefined };
    this.attempts.push(attempt);
    if (this.answer === 'unreachable') {
      throw Object.assign(new Error('connect'), {
        errno: -ENETUNREACH,
        syscall: 'connect',
        code: 'ENETUNREACH',
      });
    }
    const [near, far] = this.#pair();
    const fd = this.#add(near);
    const { answer } = this;
    if (answer === 'refuse') near.error = ECONNREFUSED;
    if (answer === 'accept') attempt.peer = new TestPeer(this, far);
    this.#outcomes.push({ near, answer });
    return fd;
  }

  readonly #outcomes: { near: Socket; answer: string }[] = [];

  /** The network answers the attempts made since. */
  settle(): void {
    for (const { near, answer } of this.#outcomes.splice(0)) {
      if (answer === 'accept') near.watch?.note('writable');
      if (answer === 'refuse') near.watch?.note('failed');
    }
  }

  tcpAccept(fd: number, address: Uint8Array): number {
    if (this.descriptorsLeft === 0) return -EMFILE;
    const socket = this.socket(fd).waiting.shift();
    if (!socket) return -EAGAIN;
    address.set(encodeRow({ family: 4, bytes: Uint8Array.of(192, 0, 2, 1), port: this.#port++, scope: 0 }));
    return this.#add(socket);
  }

  tcpError(fd: number): number {
    return this.socket(fd).error;
  }

  read(fd: number, buffer: Uint8Array, offset: number, length: number): number {
    const socket = this.socket(fd);
    if (socket.received.length === 0) {
      if (socket.error !== 0) return -socket.error;
      return socket.ended ? 0 : -EAGAIN;
    }
    const bytes = socket.received.splice(0, length);
    buffer.set(bytes, offset);
    return bytes.length;
  }

  write(fd: number, buffer: Uint8Array, offset: number, length: number): number {
    const { peer, error } = this.socket(fd);
    if (error !== 0 || !peer || peer.closed) return -ECONNRESET;
    const n = Math.min(length, this.writeLimit, peer.capacity - peer.received.length);
    if (n === 0) return -EAGAIN;
    for (let i = 0; i < n; i++) peer.received.push(buffer[offset + i]!);
    return n;
  }

  close(fd: number): void {
    const socket = this.socket(fd);
    this.#sockets[fd] = undefined;
    for (const each of socket.waiting) this.hangUp(each);
    this.hangUp(socket);
  }
}
