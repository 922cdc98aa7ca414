/**
 * Throw-away hosts for tests and demonstrations: each is a network namespace of its own, wired to others by
 * veth pairs and bridges. Nothing has a name outside the world (no entry in /run/netns), and everything ends
 * with the process that made it, also after kill -9:
 *
 * 1. A *holder* per host, a shell started by `unshare`, keeps the namespace alive and reads from a pipe.
 * 2. The pipe reaches its end when the world is closed or its process dies, whatever kills it.
 * 3. The holder then kills what still runs in its namespace, or was started through it and moved to another
 *    (found by a mark in the environment), and ends. With the last process the kernel removes the namespace.
 *
 * As root the namespaces belong to the machine's user namespace. Without root one more holder makes a user
 * namespace that owns them all, in which commands run as its root.
 */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TunconnectorError } from '../errors.ts';
import {
  type CommandOptions,
  type CommandResult,
  runCommand,
  systemEnvironment,
} from '../tun/system/live-command.ts';
import { HOLD_NETWORK, HOLD_USER, type Holder, startHolder } from './holder.ts';
import { HostProcess, type SpawnOptions } from './process.ts';
import { snapshotSystem } from './snapshot.ts';

export interface WorldOptions {
  /** Shown in error messages. */
  name?: string;
  /** Use a user namespace even where root is there. Default: only where CAP_SYS_ADMIN is missing. */
  rootless?: boolean;
}

export interface WireOptions {
  /** Addresses with prefix length of the first host's end: `'10.1.0.1/24'`. */
  a?: string | readonly string[];
  b?: string | readonly string[];
  mtu?: number;
  /** Interface names, at most 15 bytes. Default: the next free of eth0, eth1, ... in each host. */
  names?: { a?: string; b?: string };
}

/** Where a host is attached to a wire or a bridge. */
export interface Attachment {
  host: Host;
  /** Name of the interface inside the host. */
  name: string;
}

export interface BridgeMember {
  host: Host;
  /** Addresses with prefix length. */
  addresses?: string | readonly string[];
  /** Interface name in the host. Default: the next free of eth0, eth1, ... */
  name?: string;
}

/** Marks every process started through a world, so that its holder finds those that changed namespaces. */
const MARK = 'TUNCONNECTOR_WORLD';
/**
 * Makes an empty world. `await using world = await createWorld()` closes it at the end of the block.
 * Throws ERR_PERMISSION where neither root nor a user namespace is to be had.
 */
export async function createWorld(options: WorldOptions = {}): Promise<World> {
  const rootless = options.rootless ?? !canMakeNamespaces();
  const name = options.name ?? 'world';
  const user = rootless
    ? await startHolder(name, ['unshare', '--user', '--map-root-user'], HOLD_USER, [])
    : null;
  return new World(name, user);
}

export class World implements AsyncDisposable {
  readonly name: string;
  /** True when the hosts belong to a user namespace. */
  readonly rootless: boolean;
  /** In the order in which they were asked for. */
  readonly hosts: Host[] = [];
  /** How many hosts were asked for, and which of those each host is. */
  #asked = 0;
  readonly #place = new Map<Host, number>();
  readonly #user: Holder | null;
  readonly #mark = `${MARK}=${process.pid}.${randomBytes(8).toString('hex')}`;
  #index = 10;
  readonly #pending = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  /** Use `createWorld`. */
  constructor(name: string, user: Holder | null) {
    this.name = name;
    this.rootless = user !== null;
    this.#user = user;
  }

  /** Adds a host: a network namespace with `lo` up and nothing else. */
  async host(name: string): Promise<Host> {
    if (this.#closing) throw new TunconnectorError('ERR_CLOSED', `world ${this.name} is closed`);
    const place = this.#asked++;
    const started = startHolder(name, [...this.#enterUser(), 'unshare', '--net'], HOLD_NETWORK, [
      readlinkSync('/proc/self/ns/net'),
      this.#mark,
    ]);
    this.#pending.add(started);
    try {
      const host = new Host(name, await started, this.rootless, this.#mark);
      // Hosts that are made side by side get ready in any order.
      this.#place.set(host, place);
      const later = this.hosts.findIndex((other) => this.#place.get(other)! > place);
      this.hosts.splice(later < 0 ? this.hosts.length : later, 0, host);
      return host;
    } finally {
      this.#pending.delete(started);
    }
  }

  /** Joins two hosts by a veth pair, addressed and up. */
  async wire(a: Host, b: Host, options: WireOptions = {}): Promise<Wire> {
    const left = { host: a, name: a.claimInterface(options.names?.a) };
    const right = { host: b, name: b.claimInterface(options.names?.b) };
    await a.ip([this.#veth(left.name, right.name, b, options.mtu), ...addressAndRaise(left.name, options.a)]);
    await b.ip(addressAndRaise(right.name, options.b));
    await Promise.all([a.carrier(left.name), b.carrier(right.name)]);
    return new Wire(left, right);
  }

  /** Joins hosts by a learning switch, which is a host of its own. */
  async bridge(
    members: readonly BridgeMember[],
    options: { mtu?: number; name?: string } = {},
  ): Promise<Host> {
    const bridge = await this.host(options.name ?? `bridge${this.hosts.length}`);
    const ends = members.map((member, n) => ({
      ...member,
      name: member.host.claimInterface(member.name),
      port: bridge.claimInterface(`port${n}`),
    }));
    await bridge.ip([
      'link add br0 type bridge stp_state 0 forward_delay 0',
      ...ends.flatMap((end) => [
        this.#veth(end.port, end.name, end.host, options.mtu),
        `link set ${end.port} master br0 up`,
      ]),
      'link set br0 up',
    ]);
    await Promise.all(
      ends.map(async ({ host, name, addresses }) => {
        await host.ip(addressAndRaise(name, addresses));
        await host.carrier(name);
      }),
    );
    return bridge;
  }

  /** Ends every process of the world and waits until they are gone. May be called any number of times. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#pending);
    await Promise.all(this.hosts.map((host) => host.close()));
    await this.#user?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * With the same index at both ends, which fresh namespaces would give them, Linux takes a veth for a lone
   * device and lets a second pass until it believes in the carrier: the first packets would be lost.
   */
  #veth(here: string, there: string, peer: Host, mtu?: number): string {
    const size = mtu ? `mtu ${mtu} ` : '';
    const index = (this.#index += 2);
    return (
      `link add ${here} index ${index} ${size}type veth ` +
      `peer name ${there} index ${index + 1} ${size}netns ${peer.pid}`
    );
  }

  #enterUser(): string[] {
    return this.#user
      ? ['nsenter', '--preserve-credentials', `--user=/proc/${this.#user.pid}/ns/user`, '--']
      : [];
  }
}

/** A veth pair between two hosts. */
export class Wire {
  readonly a: Attachment;
  readonly b: Attachment;

  constructor(a: Attachment, b: Attachment) {
    this.a = a;
    this.b = b;
  }

  /**
   * Loses every packet in both directions from now on. Interfaces stay up and keep addresses and routes, as
   * when a path breaks somewhere far away: a queue of length 0 drops everything.
   */
  async cut(): Promise<void> {
    await this.#both((end) => ['qdisc', 'replace', 'dev', end.name, 'root', 'pfifo', 'limit', '0']);
  }

  /** Ends what `cut` began. */
  async restore(): Promise<void> {
    await this.#both((end) => ['qdisc', 'del', 'dev', end.name, 'root']);
  }

  async #both(args: (end: Attachment) => string[]): Promise<void> {
    await Promise.all([this.a, this.b].map((end) => end.host.exec(['tc', ...args(end)], { check: true })));
  }
}

export interface ExecOptions extends Omit<CommandOptions, 'netns'> {
  /** Throw ERR_COMMAND, with what it wrote to stderr, when the exit code is not 0. Default false. */
  check?: boolean;
}

/** One network namespace. */
export class Host {
  readonly name: string;
  /** The process that holds the namespace. */
  readonly pid: number;
  /**
   * The namespace as a path for setns(2), good for as long as the world is open. Where the world is rootless
   * only processes inside its user namespace may enter.
   */
  readonly path: string;
  readonly #holder: Holder;
  readonly #rootless: boolean;
  readonly #mark: string;
  readonly #interfaces = new Set<string>(['lo']);
  readonly #processes = new Set<HostProcess>();

  /** Use `world.host`. */
  constructor(name: string, holder: Holder, rootless: boolean, mark: string) {
    this.name = name;
    this.pid = holder.pid;
    this.path = `/proc/${holder.pid}/ns/net`;
    this.#holder = holder;
    this.#rootless = rootless;
    this.#mark = mark;
  }

  /** The arguments that start `argv` inside. The program replaces nsenter and so has its process id. */
  command(argv: readonly string[]): string[] {
    const user = this.#rootless ? ['--preserve-credentials', `--user=/proc/${this.pid}/ns/user`] : [];
    return ['nsenter', ...user, `--net=${this.path}`, '--', ...argv];
  }

  /**
   * Runs a program to its end. Throws ERR_COMMAND when it is missing or exceeds `timeout` (default 30 s), and
   * ERR_ABORTED when `signal` fires.
   */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<CommandResult> {
    const result = await runCommand(this.command(argv), {
      timeout: 30_000,
      ...options,
      env: this.#environment(options.env),
    });
    if (options.check && result.code !== 0) {
      const why = (result.stderr.trim() || result.stdout.trim()).replaceAll('\n', ', ');
      throw new TunconnectorError(
        'ERR_COMMAND',
        `${argv.join(' ')} on ${this.name} ended with ${result.code ?? result.signal}: ${why}`,
      );
    }
    return result;
  }

  /** Starts a program that ends at the latest with the world. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): HostProcess {
    const [program, ...args] = this.command(argv);
    const child = spawn(program!, args, {
      stdio: options.stdio ?? 'pipe',
      cwd: options.cwd,
      env: this.#environment(options.env),
      detached: true,
    });
    const process = new HostProcess(child, argv);
    this.#processes.add(process);
    void process.ended.then(() => this.#processes.delete(process));
    return process;
  }

  /** Starts a Node script with this process's Node. */
  node(script: string, args: readonly string[] = [], options: SpawnOptions = {}): HostProcess {
    return this.spawn([process.execPath, script, ...args], options);
  }

  /**
   * Runs commands of ip(8), without the leading `ip`, in one process. Throws ERR_COMMAND at the first that
   * fails.
   */
  async ip(lines: string | readonly string[]): Promise<string> {
    const batch = typeof lines === 'string' ? [lines] : lines;
    const result = await this.exec(['ip', '-batch', '-'], { input: `${batch.join('\n')}\n` });
    if (result.code === 0) return result.stdout;
    const line = /^Command failed -:(\d+)$/m.exec(result.stderr);
    const why = result.stderr.split('\n')[0];
    throw new TunconnectorError(
      'ERR_COMMAND',
      `ip ${line ? batch[Number(line[1]) - 1] : batch.join('; ')} on ${this.name}: ${why}`,
    );
  }

  /**
   * Waits until an interface has its carrier, and with it its link-local address: on a busy machine that can take
   * a while after both ends are up. Gives up after 3 s, for an interface that has none.
   */
  async carrier(name: string): Promise<void> {
    const end = performance.now() + 3000;
    while (performance.now() < end) {
      const [link] = JSON.parse(
        (await this.exec(['ip', '-json', 'link', 'show', 'dev', name], { check: true })).stdout,
      );
      if (link.operstate === 'UP') return;
      await sleep(5);
    }
  }

  /** The state of this namespace as text; see `snapshotSystem`. */
  snapshot(): Promise<string> {
    return snapshotSystem({ run: (argv, options) => this.exec(argv, options) });
  }

  /** Reserves an interface name in this host, the next free `ethN` without one. Throws ERR_INTERFACE. */
  claimInterface(wanted?: string): string {
    let name = wanted;
    for (let n = 0; name === undefined; n++) {
      if (!this.#interfaces.has(`eth${n}`)) name = `eth${n}`;
    }
    if (!/^[^\s/:]{1,15}$/.test(name) || Buffer.byteLength(name) > 15) {
      throw new TunconnectorError('ERR_INTERFACE', `interface name '${name}' is not 1 to 15 plain bytes`);
    }
    if (this.#interfaces.has(name)) {
      throw new TunconnectorError('ERR_INTERFACE', `host ${this.name} has an interface ${name} already`);
    }
    this.#interfaces.add(name);
    return name;
  }

  /** Ends every process of this host and gives the namespace up. */
  async close(): Promise<void> {
    for (const process of this.#processes) process.kill('SIGKILL');
    await this.#holder.close();
    await Promise.all([...this.#processes].map((process) => process.ended));
  }

  #environment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
    const [name, value] = this.#mark.split('=') as [string, string];
    return systemEnvironment({ ...env, [name]: value });
  }
}

/** CAP_NET_ADMIN (12) and CAP_SYS_ADMIN (21), in whatever user namespace this process is. */
function canMakeNamespaces(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  const wanted = (1n << 12n) | (1n << 21n);
  return effective !== null && (BigInt(`0x${effective[1]}`) & wanted) === wanted;
}

function addressAndRaise(name: string, addresses: string | readonly string[] = []): string[] {
  const list = typeof addresses === 'string' ? [addresses] : addresses;
  return [
    ...list.map((address) => `addr add ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`),
    `link set ${name} up`,
  ];
}
