/** Two throw-away hosts joined by a wire, for one visit: what a subject is started in, and traffic sent through. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createWorld,
  type Host,
  type HostProcess,
  type SpawnOptions,
  type World,
} from 'tunconnector/testing';
import { onCpu, type Placement } from './placement.ts';

/** Of the wire, on whose ends the outer addresses are. */
export const OUTER = { a: '10.77.0.1', b: '10.77.0.2', a6: 'fd77::1', b6: 'fd77::2' } as const;
/** Of the tunnels. */
export const INNER = { a: '10.66.0.1', b: '10.66.0.2', a6: 'fd66::1', b6: 'fd66::2' } as const;
/** The same for every tunnel, so that all carry equal segments: WireGuard's, which has the largest headers. */
export const INNER_MTU = 1420;

const READY_LIMIT_MS = 15_000;

/** What a visit is given: it ends early when `signal` fires. */
export interface VisitContext {
  placement: Placement;
  /** Seconds of traffic per figure. */
  seconds: number;
  /** A directory for files, removed at the end of the run. */
  scratch: string;
  signal: AbortSignal;
}

export class Lab {
  readonly world: World;
  readonly a: Host;
  readonly b: Host;
  readonly placement: Placement;
  /** Seconds of traffic per figure. */
  readonly seconds: number;
  readonly scratch: string;
  readonly signal: AbortSignal;

  constructor(world: World, a: Host, b: Host, { placement, seconds, scratch, signal }: VisitContext) {
    this.world = world;
    this.a = a;
    this.b = b;
    this.placement = placement;
    this.seconds = seconds;
    this.scratch = scratch;
    this.signal = signal;
  }

  spawn(host: Host, cpu: number | undefined, argv: readonly string[], options?: SpawnOptions): HostProcess {
    this.signal.throwIfAborted();
    return host.spawn(onCpu(cpu, argv), options);
  }

  /** Runs a program to its end. @throws ERR_COMMAND when it fails or takes longer than `timeout` (ms) */
  async run(host: Host, cpu: number | undefined, argv: readonly string[], timeout = 30_000): Promise<string> {
    const { stdout } = await host.exec(onCpu(cpu, argv), { check: true, timeout, signal: this.signal });
    return stdout;
  }
}

/** Makes the hosts, runs `work`, and leaves nothing of them, whatever happens. */
export async function withLab<T>(context: VisitContext, work: (lab: Lab) => Promise<T>): Promise<T> {
  return withWorld(context, async (world) => {
    const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
    await world.wire(a, b, {
      a: [`${OUTER.a}/24`, `${OUTER.a6}/64`],
      b: [`${OUTER.b}/24`, `${OUTER.b6}/64`],
      mtu: 1500,
    });
    return work(new Lab(world, a, b, context));
  });
}

/** A left and a right host, each wired to one in the middle, which is to join them. */
export async function withBridgeLab<T>(
  context: VisitContext,
  work: (lab: Lab, middle: Host) => Promise<T>,
): Promise<T> {
  return withWorld(context, async (world) => {
    const [a, middle, b] = await Promise.all([world.host('a'), world.host('middle'), world.host('b')]);
    // The middle's ends have no addresses, and nothing of their own to say.
    await middle.exec(['sh', '-c', 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'], { check: true });
    await world.wire(a, middle, { a: `${OUTER.a}/24`, names: { b: 'left' }, mtu: 1500 });
    await world.wire(b, middle, { a: `${OUTER.b}/24`, names: { b: 'right' }, mtu: 1500 });
    return work(new Lab(world, a, b, context), middle);
  });
}

/** Hosts a and b, and one for each of so many functions, on one switch. */
export async function withChainLab<T>(
  context: VisitContext,
  functions: number,
  work: (lab: Lab, functions: Host[]) => Promise<T>,
): Promise<T> {
  return withWorld(context, async (world) => {
    const names = ['a', 'b', ...Array.from({ length: functions }, (_, k) => `f${k}`)];
    const [a, b, ...others] = (await Promise.all(names.map((name) => world.host(name)))) as [
      Host,
      Host,
      ...Host[],
    ];
    await world.bridge(
      [
        { host: a, addresses: [`${OUTER.a}/24`] },
        { host: b, addresses: [`${OUTER.b}/24`] },
        ...others.map((host, k) => ({ host, addresses: [`${functionAddress(k)}/24`] })),
      ],
      { mtu: 1500 },
    );
    return work(new Lab(world, a, b, context), others);
  });
}

/** Of the host of the k-th function. */
export const functionAddress = (k: number) => `10.77.0.${10 + k}`;

async function withWorld<T>({ signal }: VisitContext, work: (world: World) => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const world = await createWorld({ name: 'bench' });
  // What waits for a process of the world hears of its end.
  const abort = () => void world.close();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await work(world);
  } finally {
    signal.removeEventListener('abort', abort);
    await world.close();
  }
}

/** Waits until `address` answers pings: a tunnel is up when packets pass. @param patience seconds that an answer may take */
export async function reachable(lab: Lab, host: Host, address: string, patience = 0.3): Promise<void> {
  const end = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const { code } = await host.exec(['ping', '-n', '-c', '1', '-W', `${patience}`, address], {
      signal: lab.signal,
    });
    if (code === 0) return;
    if (performance.now() > end)
      throw new Error(`${address} does not answer within ${READY_LIMIT_MS / 1000} s`);
    await sleep(50, undefined, { signal: lab.signal });
  }
}
