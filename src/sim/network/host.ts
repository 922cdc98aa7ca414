/** A simulated host: a stack with an interface for each of its links, and programs that run on it. */

import type { App } from '../../engine/app.ts';
import { parseLink } from '../../engine/config.ts';
import { MODEST, memoryFor, USUAL } from '../../engine/memory-plan.ts';
import { Network } from '../../engine/network.ts';
import type { VirtualDisk, VirtualDiskOptions } from '../../engine/virtual-storage.ts';
import { Neighbours } from '../../stack/neighbours/neighbours.ts';
import { Stack } from '../../stack/stack.ts';
import { type WireEnd, wire } from '../../tun/wire.ts';
import type { HostRuntime } from '../runtime/host-runtime.ts';
import type { SimRoute } from '../topology/routes.ts';
import type { HostSettings } from '../topology/topology.ts';
import { isShort, type SimLink } from './link.ts';

/** What runs on a host: called when it starts, and again when it is started anew. */
export type Program = (host: SimHost) => void | Promise<void>;

/** One interface: which link, which end of it, what the host has there. */
export interface Plug {
  link: SimLink;
  side: 0 | 1;
  addresses: readonly string[];
  mtu: number;
  /** Its link-layer address, where frames leave by it. */
  mac: string | undefined;
}

/** Packets that wait for neighbours: so many for all interfaces of a host together, and so many for each at least. */
const WAITING = 256;
const LEAST_WAITING = 8;

export interface SimHostOptions {
  name: string;
  settings: HostSettings;
  disk: VirtualDisk;
  plugs: readonly Plug[];
  routes: readonly SimRoute[];
  program: Program | undefined;
  /** A runtime for the next life of the host. @param starts how often it was started before @param ppm of its clock */
  boot: (starts: number, ppm: number) => HostRuntime;
  /** Something it has to say, for the log of the simulation. */
  say: (text: string) => void;
}

/** A disk as they are: `VirtualDisk`. */
const DISK = { writeTime: 0, syncTime: '1ms', jitter: 0, capacity: Number.POSITIVE_INFINITY };

/** One life of a host. */
interface Running {
  runtime: HostRuntime;
  network: Network;
  stack: Stack;
  /** Its interfaces. */
  ends: WireEnd[];
  /** By name: what programs have of TUNs. */
  tuns: Map<string, WireEnd>;
}

export class SimHost {
  readonly name: string;
  readonly #options: SimHostOptions;
  #starts = 0;
  #ppm: number;
  /** Who wants it to stand still. */
  readonly #pauses = new Set<number>();
  /** What is to be done when the life it has now ends. */
  readonly #closing: (() => Promise<void>)[] = [];
  #running: Running | undefined;

  /** Made by `Simulation`, which starts it. */
  constructor(options: SimHostOptions) {
    this.name = options.name;
    this.#options = options;
    this.#ppm = options.settings.ppm;
  }

  get isUp(): boolean {
    return this.#running !== undefined;
  }

  /** @throws RangeError while it is down, as what follows */
  get runtime(): HostRuntime {
    return this.#up.runtime;
  }

  get stack(): Stack {
    return this.#up.stack;
  }

  /** Its own: apps may be added to it. */
  get network(): Network {
    return this.#up.network;
  }

  /**
   * The other side of a TUN, for a network of a program: what the stack sends comes out of `out`, what goes into `in` the stack gets.
   * @throws RangeError when the topology has none of this name
   */
  tun(name: string): WireEnd {
    const end = this.#up.tuns.get(name);
    if (!end) throw new RangeError(`the host ${this.name} has no TUN ${name}`);
    return end;
  }

  get #up() {
    if (this.#running) return this.#running;
    throw new RangeError(`the host ${this.name} is down`);
  }

  /** A line in the log of the simulation. */
  log(text: string): void {
    this.#options.say(text);
  }

  /** What its storages are on. */
  get disk(): VirtualDisk {
    return this.#options.disk;
  }

  /** Another disk; without options as disks are. */
  configureDisk(options: VirtualDiskOptions = {}): void {
    this.disk.configure({ ...DISK, ...options });
  }

  /** Calls it when the life that the host has now is over: to give back what its program has made. */
  onStop(callback: () => Promise<void>): void {
    this.#closing.push(callback);
  }

  /** For what comes from outside its stack: calls it when the host runs, and later when it stands still. */
  whenAwake(callback: () => void): void {
    this.#running?.runtime.whenAwake(callback);
  }

  /** It stands still until everybody who wants that has resumed it. Nothing when it is down. */
  pause(by = -1): void {
    if (!this.#running) return;
    this.#pauses.add(by);
    this.#running.runtime.pause();
  }

  resume(by = -1): void {
    if (this.#pauses.delete(by) && this.#pauses.size === 0) this.#running?.runtime.resume();
  }

  /** Its clock jumps forward: ns. Nothing when it is down. */
  jump(span: number): void {
    this.#running?.runtime.jump(span);
  }

  /** From now on, and in the lives to come, its clock is fast by so many parts per million. Without them, as the topology has it. */
  drift(ppm = this.#options.settings.ppm): void {
    this.#ppm = ppm;
    this.#running?.runtime.drift(ppm);
  }

  /** Nothing when it runs. */
  async start(): Promise<void> {
    if (this.#running) return;
    const { settings, plugs, routes, program, boot } = this.#options;
    const runtime = boot(this.#starts++, this.#ppm);
    const interfaces = plugs.map(({ addresses, mtu }, n) => ({
      name: `eth${n}`,
      addresses: [...addresses],
      mtu,
      // What passes a link is what is on a wire: packets one by one.
      superframes: false,
    }));
    const named = Object.entries(settings.tuns);
    for (const [name, { addresses, mtu }] of named)
      interfaces.push({ name, addresses: [...addresses], mtu, superframes: false });
    const stack = new Stack({
      interfaces: interfaces.length > 0 ? interfaces : [{ name: 'eth0' }],
      // Of equal ones the last is taken.
      routes: [
        ...routes,
        ...named.flatMap(([name, tun]) => tun.routes.map((to) => ({ to, interface: name }))),
      ],
      nameservers: [...settings.nameservers],
      forward: settings.forward,
    });
    const apps = new Map<string, App>([['stack', stack]]);
    const links: string[] = [];
    const frames = plugs.filter(({ mac }) => mac !== undefined).length;
    const waiting = Math.max(LEAST_WAITING, Math.floor(WAITING / Math.max(frames, 1)));
    const ends = plugs.map(({ link, side, mac, mtu, addresses }, n) => {
      const [end] = wire({ layer: mac === undefined ? 'L3' : 'L2' });
      apps.set(`nic${n}`, end);
      if (mac === undefined) links.push(`nic${n}.out -> stack.eth${n}`, `stack.eth${n} -> nic${n}.in`);
      else {
        const superframes = !isShort(mtu, 'L2');
        const options = { mac, addresses: [...addresses], waiting, superframes };
        apps.set(`neighbours${n}`, new Neighbours({ ...options, queue: Math.min(16, waiting) }));
        links.push(`nic${n}.out -> neighbours${n}.frames`, `neighbours${n}.frames -> nic${n}.in`);
        links.push(`neighbours${n}.packets -> stack.eth${n}`, `stack.eth${n} -> neighbours${n}.packets`);
      }
      link.plug(side, end);
      return end;
    });
    const tuns = new Map<string, WireEnd>();
    for (const [name] of named) {
      const [own, program] = wire();
      apps.set(name, own);
      links.push(`${name}.out -> stack.${name}`, `stack.${name} -> ${name}.in`);
      ends.push(own);
      tuns.set(name, program);
    }
    // Who says how much has more apps in mind than these.
    const allowance = settings.memory === undefined ? MODEST : USUAL;
    const memory = settings.memory ?? memoryFor(apps, links.map(parseLink), allowance);
    const network = new Network(runtime, { memory, allowance });
    for (const [app, instance] of apps) network.app(app, instance);
    for (const link of links) network.link(link);
    await network.start();
    this.#running = { runtime, network, stack, ends, tuns };
    await program?.(this);
  }

  /** Power is lost: nothing of it runs any more, and packets to it find nobody. Nothing when it is down. */
  async crash(): Promise<void> {
    const running = this.#running;
    if (!running) return;
    this.#running = undefined;
    this.#pauses.clear();
    running.runtime.halt();
    running.stack.mute();
    this.#options.disk.crash();
    for (const { link, side } of this.#options.plugs) link.unplug(side);
    // Its last words reach nobody.
    for (const end of running.ends) end.join(undefined);
    await running.network.close();
    for (const callback of this.#closing.splice(0)) await callback();
  }
}
