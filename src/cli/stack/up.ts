/** Runs a planned stack until somebody ends it, and says what it did. */
import { hostNetwork } from '../../engine/live-hosted.ts';
import { liveRuntime } from '../../engine/live-runtime.ts';
import { TunconnectorError } from '../../errors.ts';
import { type DhcpLease, dhcp } from '../../stack/index.ts';
import { captureHosted, type HostedCapture } from '../../tun/capture/live-attached.ts';
import { configureInterface } from '../../tun/system/live-ip.ts';
import { ControlSockets } from '../control.ts';
import { Exit, reportError } from '../exit.ts';
import { described, formatDuration } from '../format.ts';
import { untilEnd } from '../until-end.ts';
import { appName, MTU, type PlannedNetwork, plannedNetwork } from './network.ts';
import type { PlannedInterface, StackPlan } from './plan.ts';
import { type Service, startServices } from './services.ts';

export interface StackFlags {
  json?: boolean;
  pcap?: string;
  verbose?: boolean;
  nameserver?: string[];
  forward?: boolean;
}

/** @returns the exit code @throws what kept it from starting */
export function upStack(
  plan: StackPlan,
  flags: StackFlags & { services: ReadonlySet<Service> },
): Promise<number> {
  const { forward = false, nameserver = [], services } = flags;
  const planned = plannedNetwork(plan, { forward, echo: services.has('ping'), nameservers: nameserver });
  return new StackRun(plan, planned, flags, services).run();
}

class StackRun {
  readonly #plan: StackPlan;
  readonly #planned: PlannedNetwork;
  readonly #flags: StackFlags;
  readonly #services: ReadonlySet<Service>;
  readonly #network = hostNetwork('main');
  readonly #control = new ControlSockets((text) => this.#note(text));
  readonly #leases: { stop(): void }[] = [];
  #isCutShort = false;

  constructor(plan: StackPlan, planned: PlannedNetwork, flags: StackFlags, services: ReadonlySet<Service>) {
    this.#plan = plan;
    this.#planned = planned;
    this.#flags = flags;
    this.#services = services;
  }

  async run(): Promise<number> {
    const end = untilEnd(['SIGINT', 'SIGTERM', 'SIGHUP']);
    const started = liveRuntime().now();
    let capture: HostedCapture | undefined;
    let endServices = () => {};
    this.#network.on('error', end.fail);
    this.#network.on('event', (_app, event) => {
      if (event.type === 'port-failed')
        end.fail(new TunconnectorError('ERR_INTERFACE', `${event.subject} went down or was removed`));
      else if (event.type === 'address-conflict') this.#say('conflict', { address: event.address });
    });
    try {
      await this.#network.start(this.#planned.config);
      capture = await this.#capture();
      for (const each of this.#plan.interfaces) await this.#configure(each);
      await this.#control.serve(this.#plan.interfaces[0]!.name, this.#network);
      endServices = startServices(this.#planned.stack, this.#services);
      for (const each of this.#plan.interfaces) this.#up(each);
      for (const each of this.#plan.interfaces) if (each.dhcp) this.#lease(each);
      await end.promise;
      await this.#report(liveRuntime().now() - started);
      return this.#isCutShort ? Exit.failure : Exit.ok;
    } finally {
      end.forget();
      endServices();
      for (const lease of this.#leases) lease.stop();
      try {
        await capture?.stop();
      } finally {
        await this.#control.close();
        await this.#network.close();
      }
    }
  }

  async #capture(): Promise<HostedCapture | undefined> {
    const { pcap } = this.#flags;
    if (pcap === undefined) return undefined;
    const onEnd = ({ error }: { error: TunconnectorError | undefined }) => {
      if (!error) return;
      this.#isCutShort = true;
      reportError(error);
    };
    return captureHosted(this.#network, this.#planned.ports, pcap, { drops: true, onEnd });
  }

  /** The kernel's side of a device that was made. What was there stays as it is. */
  async #configure({ kind, name, mtu = MTU, hostAddresses = [] }: PlannedInterface): Promise<void> {
    if (kind === 'interface') return;
    // The kernel would send router solicitations to a stack that is no router.
    const addressGeneration = kind === 'tun' ? ('none' as const) : ('eui64' as const);
    await configureInterface({ name, mtu, addressGeneration, addresses: hostAddresses, up: true });
  }

  #up({ kind, name, addresses, mtu = MTU }: PlannedInterface): void {
    const services = [...this.#services];
    const mac = this.#planned.neighbours.get(name)?.mac;
    if (this.#flags.json) {
      this.#event('up', {
        interface: name,
        kind,
        addresses,
        mtu,
        services,
        ...(mac !== undefined && { mac }),
      });
      return;
    }
    const parts = [...addresses, `MTU ${mtu}`, ...(mac === undefined ? [] : [mac])];
    process.stdout.write(`${name} is up: ${parts.join(', ')}; it answers ${services.join(', ')}\n`);
  }

  #lease({ name }: PlannedInterface): void {
    const { stack, neighbours } = this.#planned;
    const onLease = (lease: DhcpLease | undefined) => {
      // What is valid for ever has no number in JSON.
      const seconds = lease && Math.round((lease.expires - stack.runtime.now()) / 1e9);
      this.#say('lease', { interface: name, ...lease, expires: Number.isFinite(seconds) ? seconds : null });
    };
    const onDecline = (address: string) => this.#say('declined', { interface: name, address });
    const options = { interface: appName(name), onLease, onDecline };
    this.#leases.push(dhcp(stack, neighbours.get(name)!, options));
  }

  #say(event: 'lease' | 'conflict' | 'declined', details: Record<string, unknown>): void {
    if (this.#flags.json) this.#event(event, details);
    else if (event === 'conflict')
      process.stdout.write(`another station has the address ${details.address}\n`);
    else if (event === 'declined')
      process.stdout.write(
        `${details.interface}: another station has ${details.address}, asking for another address\n`,
      );
    else if (details.address === undefined)
      process.stdout.write(`${details.interface}: the lease has ended\n`);
    else
      process.stdout.write(
        `${details.interface}: ${details.address} from ${details.server} for ${details.expires ?? 'ever'} s\n`,
      );
  }

  async #report(duration: number): Promise<void> {
    const { apps } = await this.#network.report();
    const stack = apps.find(({ app }) => app === 'stack')!;
    if (this.#flags.json) {
      this.#event('report', { duration, stack: stack.report, drops: stack.drops });
      return;
    }
    process.stdout.write(`up for ${formatDuration(duration)}\n${described(stack.report)}\n`);
    if (Object.keys(stack.drops).length > 0) process.stdout.write(`dropped: ${described(stack.drops)}\n`);
  }

  #note(text: string): void {
    if (this.#flags.verbose) process.stderr.write(`${text}\n`);
  }

  #event(event: string, details: object): void {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...details })}\n`);
  }
}
