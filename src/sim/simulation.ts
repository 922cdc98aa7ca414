/**
 * Many hosts in one process, in virtual time: each with a stack, a clock and programs of its own, joined by links that are the impairments of
 * real ones. The same topology, programs and seed: the same run, packet by packet.
 */
import { randomStream } from '../engine/random.ts';
import { duration } from '../engine/units.ts';
import { VirtualRuntime } from '../engine/virtual-runtime.ts';
import { VirtualDisk } from '../engine/virtual-storage.ts';
import { formatMac } from '../packet/prefix.ts';
import { FaultEffects } from './faults/effects.ts';
import { checkFaults, type Fault, type TimedFault } from './faults/faults.ts';
import type { FlowFigures } from './flows/flow.ts';
import { Flows } from './flows/flows.ts';
import { drained } from './live-drain.ts';
import { type Plug, type Program, SimHost } from './network/host.ts';
import { SimLink } from './network/link.ts';
import { macKey, SimSwitch } from './network/switch.ts';
import { HostRuntime } from './runtime/host-runtime.ts';
import { StackOutside } from './runtime/stack-outside.ts';
import { routesOf } from './topology/routes.ts';
import { type CheckedTopology, checkTopology, type Topology } from './topology/topology.ts';
import { Trace, type Witness } from './trace.ts';

export interface SimulationOptions {
  /** By host: what runs there, from its start on. */
  programs?: Readonly<Record<string, Program>>;
  faults?: readonly Fault[];
  /** Is told of each packet, line of the log and event, when it happens. */
  witness?: Witness;
}

export interface LogLine {
  /** ns of the world's time. */
  at: number;
  /** Who says it; undefined: the simulation. */
  host: string | undefined;
  text: string;
}

export class Simulation implements AsyncDisposable {
  /** What all of it runs on. Its time is the world's, which clocks of hosts may differ from. */
  readonly runtime: VirtualRuntime;
  readonly log: LogLine[] = [];
  readonly #written: Topology;
  readonly #options: SimulationOptions;
  readonly #topology: CheckedTopology;
  readonly #hosts = new Map<string, SimHost>();
  readonly #links = new Map<string, SimLink>();
  readonly #switches = new Map<string, SimSwitch>();
  readonly #flows: Flows;
  readonly #trace: Trace;
  readonly #faults: TimedFault[];
  readonly #effects = new FaultEffects(
    (name) => this.link(name),
    (name) => this.host(name),
    () => this.switches,
  );
  /** Hosts on which promises may be settled: with programs, or that somebody outside has. */
  readonly #promising = new Set<string>();
  /** Something of a host ran: its promises go on before the next event. */
  #entered = false;
  /** The host that ran in the last event; empty: none did. */
  #ran = '';
  #ranLast: string | undefined;
  readonly #breaks = new Set<Break>();

  private constructor(written: Topology, options: SimulationOptions) {
    const topology = checkTopology(written);
    this.#written = written;
    this.#options = options;
    this.#topology = topology;
    this.#faults = checkFaults(options.faults ?? [], topology);
    this.runtime = new VirtualRuntime({ seed: topology.seed });
    this.#flows = new Flows(topology.flows, () => this.runtime.now());
    this.#trace = new Trace(() => this.runtime.now(), options.witness);
  }

  /**
   * Makes the hosts and links, and starts the programs.
   *
   * @throws ERR_CONFIG, ERR_ADDRESS, ERR_LIMIT with what is wrong
   * @example
   * const sim = await Simulation.start({
   *   seed: 7,
   *   hosts: { a: {}, b: {} },
   *   links: { ab: { between: [{ host: 'a', addresses: ['10.0.0.1/24'] }, { host: 'b', addresses: ['10.0.0.2/24'] }], impair: 'delay 5ms' } },
   * });
   * const ping = sim.host('a').stack.ping('10.0.0.2');
   * await sim.run('1s');
   */
  static async start(topology: Topology, options: SimulationOptions = {}): Promise<Simulation> {
    const sim = new Simulation(topology, options);
    await sim.#build(options.programs ?? {});
    return sim;
  }

  async #build(programs: Readonly<Record<string, Program>>): Promise<void> {
    const { seed, limits, hosts, switches, links } = this.#topology;
    const plugs = new Map<string, Plug[]>([...hosts.keys()].map((name) => [name, []]));
    const stations = new Map<number, string>();
    for (const name of switches) this.#switches.set(name, new SimSwitch(name, stations));
    for (const settings of links) {
      const { name, ends, mtu, layer } = settings;
      const draws = randomStream(seed, `link ${name}`).u32();
      const link = await SimLink.make(this.runtime, settings, { limits, seed: draws });
      this.#links.set(name, link);
      this.#trace.watch(name, link.network, layer);
      for (const side of [0, 1] as const) {
        const { host, isSwitch, addresses } = ends[side];
        const far = ends[1 - side]!;
        if (isSwitch) {
          link.plug(side, this.switch(host).port(far.isSwitch ? undefined : far.host));
          continue;
        }
        const mac = layer === 'L2' ? this.#macOf(host, name) : undefined;
        if (mac) stations.set(macKey(mac, 0), host);
        plugs.get(host)!.push({ link, side, addresses, mtu, mac: mac && formatMac(mac) });
      }
    }
    const routes = routesOf(this.#topology);
    for (const name of hosts.keys())
      if (programs[name] || this.#flows.promises(name)) this.#promising.add(name);
    for (const name of Object.keys(programs)) this.#settings(name);
    for (const [name, settings] of hosts) {
      const disk = new VirtualDisk({
        now: () => this.runtime.now(),
        timer: (at, callback) => this.runtime.timer(at, () => host.whenAwake(callback)),
        random: (stream) => this.runtime.random(`${name}/${stream}`),
      });
      const host: SimHost = new SimHost({
        ...{ name, settings, disk, plugs: plugs.get(name)!, routes: routes.get(name)! },
        program: (started) => {
          this.#flows.started(started);
          return programs[name]?.(started);
        },
        say: (text) => this.#say(name, text),
        boot: (starts, ppm) =>
          new HostRuntime({
            ...{ world: this.runtime, name, starts, ppm },
            outside: new StackOutside(host, disk),
            entered: () => {
              // Flows alone settle no promise that anything waits for.
              this.#entered ||= this.#promising.has(name);
              this.#ran = name;
              this.#ranLast = name;
            },
          }),
      });
      this.#hosts.set(name, host);
    }
    for (const host of this.#hosts.values()) await host.start();
  }

  /** The link-layer address of an interface, the same in each life of its host. */
  #macOf(host: string, link: string): Uint8Array {
    const mac = new Uint8Array(6);
    randomStream(this.seed, `address of ${host} on ${link}`).fill(mac);
    // Locally administered, for one station.
    mac[0] = 2;
    return mac;
  }

  #settings(name: string) {
    const settings = this.#topology.hosts.get(name);
    if (!settings) throw new RangeError(`there is no host ${name}`);
    return settings;
  }

  /** @throws RangeError when there is none of this name */
  host(name: string): SimHost {
    this.#settings(name);
    this.#promising.add(name);
    return this.#hosts.get(name)!;
  }

  /** @throws RangeError when there is none of this name */
  link(name: string): SimLink {
    const link = this.#links.get(name);
    if (!link) throw new RangeError(`there is no link ${name}`);
    return link;
  }

  /** @throws RangeError when there is none of this name */
  switch(name: string): SimSwitch {
    const found = this.#switches.get(name);
    if (!found) throw new RangeError(`there is no switch ${name}`);
    return found;
  }

  get switches(): readonly SimSwitch[] {
    return [...this.#switches.values()];
  }

  get hosts(): readonly SimHost[] {
    for (const name of this.#hosts.keys()) this.#promising.add(name);
    return [...this.#hosts.values()];
  }

  get links(): readonly SimLink[] {
    return [...this.#links.values()];
  }

  /** As it was understood. */
  get topology(): CheckedTopology {
    return this.#topology;
  }

  /** What each flow of the topology did so far, in their order. */
  get flows(): FlowFigures[] {
    return this.#flows.figures();
  }

  /** Of all draws. */
  get seed(): number {
    return this.#topology.seed;
  }

  /** The host whose code ran last; undefined while none has. */
  get ranLast(): string | undefined {
    return this.#ranLast;
  }

  /** Timers, and breaths of hosts and links, so far. */
  get events(): number {
    return this.runtime.events;
  }

  /** Of every packet on every link, every line of the log, the time and the number of events: 64 hexadecimal digits. */
  get fingerprint(): string {
    return this.#trace.fingerprint(this.events);
  }

  /** Packets on links, seen where they are put in and where they come out. */
  get packets(): number {
    return this.#trace.packets;
  }

  #say(host: string | undefined, text: string): void {
    this.log.push({ at: this.runtime.now(), host, text });
    this.#trace.line(host, text);
  }

  /** Lets so much time pass. False: `breakOn` has ended it before. @param span ns, or text such as `10s` */
  run(span: string | number): Promise<boolean> {
    return this.runTo(this.runtime.now() + duration(span));
  }

  /**
   * Runs everything that is due until a time (ns of the world's time), inclusive; or up to and with the event, or the packet, of a number.
   * False: `breakOn` has ended it before, or there are not so many.
   */
  async runTo(to: number | { event: number } | { packet: number }): Promise<boolean> {
    if (typeof to !== 'number') {
      const isThere = 'event' in to ? () => this.events >= to.event : () => this.packets >= to.packet;
      return isThere() || (await this.#go(Number.MAX_SAFE_INTEGER, isThere)) === 'so';
    }
    return (await this.#go(to, NEVER)) === 'time';
  }

  /** Runs events up to and with the one of this number. False: there are not so many until `time`. @param time ns */
  async runToEvent(event: number, time = Number.MAX_SAFE_INTEGER): Promise<boolean> {
    return this.events >= event || (await this.#go(time, () => this.events >= event)) === 'so';
  }

  /**
   * Runs until, after an event, something is so. False: it is not until `time`.
   * @param time ns
   */
  async runUntil(isSo: () => boolean, time = Number.MAX_SAFE_INTEGER): Promise<boolean> {
    return (await this.#go(time, isSo)) === 'so';
  }

  /**
   * From now on whatever runs ends after the first event with which something has become so; it can be run on from there.
   * @returns takes it back
   */
  breakOn(isSo: (sim: Simulation) => boolean): () => void {
    const each: Break = { isSo, was: isSo(this) };
    this.#breaks.add(each);
    return () => void this.#breaks.delete(each);
  }

  #broke(): boolean {
    let broke = false;
    for (const each of this.#breaks) {
      const is = each.isSo(this);
      if (is && !each.was) broke = true;
      each.was = is;
    }
    return broke;
  }

  /**
   * The same from the start, up to an event: what was, and how it came to that. Of what was done to hosts and links from outside, and is
   * neither a program nor a fault, nothing is done again.
   */
  async again(event: number): Promise<Simulation> {
    const other = await Simulation.start(this.#written, this.#options);
    await other.runToEvent(event);
    return other;
  }

  /** One event back, as another simulation. */
  stepBack(): Promise<Simulation> {
    return this.again(Math.max(0, this.events - 1));
  }

  async #go(time: number, isSo: () => boolean): Promise<'so' | 'time' | 'broke'> {
    await drained();
    for (;;) {
      const [fault] = this.#faults;
      const until = Math.min(time, fault?.at ?? time);
      while (this.runtime.step(until)) {
        this.#options.witness?.(this.#ran, 'ran');
        this.#ran = '';
        if (this.#entered) {
          this.#entered = false;
          await drained();
        }
        const broke = this.#breaks.size > 0 && this.#broke();
        if (isSo()) return 'so';
        if (broke) return 'broke';
      }
      this.runtime.runTo(until);
      if (!fault || fault.at > time) return 'time';
      // What is due at that instant has run; the fault is what comes next.
      this.#faults.shift();
      this.#say(undefined, fault.text);
      await this.#effects.do(fault.deed);
      await drained();
    }
  }

  /** Ends it and gives all memory back. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.#hosts.values()) await host.crash();
    for (const link of this.#links.values()) await link.network.close();
  }
}

const NEVER = (): boolean => false;

interface Break {
  readonly isSo: (sim: Simulation) => boolean;
  was: boolean;
}
