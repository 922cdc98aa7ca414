/** The link between this host and the command's network namespace, with all that lets packets through it. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import type { HostedNetwork } from '../../engine/live-hosted.ts';
import { TunconnectorError } from '../../errors.ts';
import { impairedLink } from '../../impair/link.ts';
import type { CompiledSpec } from '../../impair/spec/spec.ts';
import { runCommand } from '../../tun/system/live-command.ts';
import { configureInterface, readRoutes, routeTo } from '../../tun/system/live-ip.ts';
import { doctorClean, SystemChanges } from '../../tun/system/live-system.ts';
import { tun } from '../../tun/tun.ts';
import { liveOutside } from '../../tunnel/connector/live-outside.ts';
import { NameRelay, resolverBehind } from './names.ts';
import { freePlaces, type Place } from './place.ts';

/** Packets that may wait in an interface before they are read; a superframe is one. As a tunnel's. */
export const QUEUE_LENGTH = 2000;
/** A documentation address (RFC 3849): nobody's, so the way there is the way out. */
const ANYWHERE_IPV6 = '2001:db8::1';
export const RESOLV_CONF = '/etc/resolv.conf';

/** As `nft -j` has it. */
interface Chain {
  family: string;
  table: string;
  name: string;
  hook?: string;
  policy?: string;
}

export interface LinkOptions {
  network: HostedNetwork;
  spec: CompiledSpec;
  /** Path of the command's network namespace. */
  netns: string;
}

/** A link, with what is behind it. */
export interface Way {
  readonly place: Place;
  open(): Promise<void>;
  /** /etc/resolv.conf for the command; undefined where this host's serves as it is. */
  resolver(): Promise<string | undefined>;
  /** Tables and chains of this host's firewall that drop what is forwarded unless a rule of theirs lets it through. */
  obstacles(): Promise<string[]>;
  /** Everything is as before. */
  close(): Promise<void>;
}

export interface KernelLinkOptions extends LinkOptions {
  /** This host's network leads nowhere: there is nothing to forward, and nobody who knows names. */
  isolated: boolean;
}

export class ShellLink implements Way {
  readonly #options: KernelLinkOptions;
  readonly #system = SystemChanges.open();
  /** Keeps the namespace, and the interface in it, until all is told. */
  readonly #pin: number;
  #relay: NameRelay | undefined;
  #place!: Place;
  #families: (4 | 6)[] = [4];

  constructor(options: KernelLinkOptions) {
    this.#options = options;
    this.#pin = openSync(options.netns, 'r');
  }

  get place(): Place {
    return this.#place;
  }

  /** @throws what the interfaces, ip(8) or nft(8) have to say */
  async open(): Promise<void> {
    const { isolated, netns } = this.#options;
    // What commands left here that were killed together with their janitors; `doctor` tells what cannot be undone.
    if (!isolated) await doctorClean({ netns: '/proc/self/ns/net' }).catch(() => {});
    const [families, mtu] = await Promise.all([familiesOf(isolated), liveOutside.mtu()]);
    this.#families = families;
    this.#place = await this.#claim();
    const { name, outer, inner, prefixes } = this.#place;
    const common = { name, mtu, up: true, txQueueLength: QUEUE_LENGTH, addressGeneration: 'none' } as const;
    if (isolated) await configureInterface({ name: 'lo', up: true });
    await configureInterface({ ...common, addresses: outer.addresses });
    await configureInterface({ name: 'lo', netns, up: true });
    const everywhere = this.#families.map((family) => ({ prefix: family === 4 ? '0.0.0.0/0' : '::/0' }));
    await configureInterface({ ...common, netns, addresses: inner.addresses, routes: everywhere });
    if (isolated) return;
    await this.#system.enableForwarding(this.#families);
    await this.#system.masquerade(prefixes, name);
  }

  async resolver(): Promise<string | undefined> {
    // Without the file there is nothing to put another in the place of.
    if (this.#options.isolated || !existsSync(RESOLV_CONF)) return undefined;
    const gateway = this.#place.gateways[0]!;
    const found = resolverBehind(readFileSync(RESOLV_CONF, 'utf8'), gateway, this.#families);
    if (!found) return undefined;
    const client = this.#place.inner.addresses[0]!.split('/')[0]!;
    this.#relay = await NameRelay.open(gateway, client, found.relayed);
    return found.text;
  }

  async obstacles(): Promise<string[]> {
    if (this.#options.isolated) return [];
    const { code, stdout } = await runCommand(['nft', '-j', 'list', 'chains']);
    if (code !== 0) return [];
    const { nftables } = JSON.parse(stdout) as { nftables: { chain?: Chain }[] };
    return nftables.flatMap(({ chain }) =>
      chain?.hook === 'forward' && chain.policy === 'drop'
        ? [`${chain.family} ${chain.table} ${chain.name}`]
        : [],
    );
  }

  async close(): Promise<void> {
    this.#relay?.close();
    try {
      await this.#options.network.close();
    } finally {
      closeSync(this.#pin);
      await this.#system.undo();
    }
  }

  /** Makes the interfaces, with the first name that nobody has. */
  async #claim(): Promise<Place> {
    const { network, spec, netns } = this.#options;
    const routes = await readRoutes({ table: 'all' });
    for (const place of freePlaces(routes, this.#families)) {
      const { name } = place;
      try {
        await network.start(impairedLink(tun({ name, netns }), tun({ name }), spec));
        return place;
      } catch (error) {
        const { code, errno } = error as TunconnectorError;
        if (code !== 'ERR_TUN_OPEN' || (errno !== 'EBUSY' && errno !== 'EEXIST')) throw error;
      }
    }
    throw noPlace();
  }
}

export const noPlace = () =>
  new TunconnectorError('ERR_INTERFACE', 'there is no place left for another link', {
    remedy: 'end some of the shells that run',
  });

/** What there is of IP versions. Where IPv6 leads nowhere, programs would try it first. */
export async function familiesOf(isolated: boolean): Promise<(4 | 6)[]> {
  const six = existsSync('/proc/net/if_inet6') && (isolated || (await routeTo(ANYWHERE_IPV6)) !== null);
  return six ? [4, 6] : [4];
}
