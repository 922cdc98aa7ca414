/**
 * Changes to the machine that outlive a descriptor and have to be undone: routes outside a TUN's own,
 * forwarding, source address translation. A process beside this one, the janitor, makes them and undoes them:
 * on `undo()`, and by itself within a second when this process ends in any way. What was not made here is
 * never touched.
 *
 * `--route default` is two halves, 0.0.0.0/1 and 128.0.0.0/1 (::/1 and 8000::/1), which win over the default
 * route without touching it, and a host route that keeps the peer outside the tunnel.
 */

import { readdirSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { TunconnectorError } from '../../errors.ts';
import {
  interfaceName,
  type Path,
  type Route,
  type RouteSpec,
  readRoutes,
  routeArguments,
  routeTo,
} from './live-ip.ts';
import { Janitor, type JanitorRequest } from './live-janitor.ts';
import { describeChange, isLive, readRecords, removeRecord, type StoredRecord } from './live-records.ts';

/**
 * Marks our routes (rtm_protocol), so that looking for the way without them is possible, and nobody else's is
 * deleted.
 */
export const ROUTE_PROTOCOL = 84;

/**
 * Of the unreachable route behind every host route (which has 0 in IPv4, 1024 in IPv6). It takes over in the
 * moment in which the kernel removes the host route with its interface; otherwise the tunnel's packets would
 * enter the tunnel.
 */
const GUARD_METRIC = 2000;

/** A peer whose way is kept outside the tunnel. */
interface Pin {
  path: Path | null;
  /**
   * Null where there is no way, or no need: the peer is on this host, or somebody's host route leads to it.
   */
  route: RouteSpec | null;
  guard: RouteSpec | null;
  avoid: readonly string[];
}

export interface PeerMove {
  address: string;
  /** Null: there is no way to the peer now. */
  path: Path | null;
}

export class SystemChanges implements AsyncDisposable {
  readonly #netns: string | undefined;
  readonly #pins = new Map<string, Pin>();
  #janitor: Janitor | undefined;
  #onMove: ((move: PeerMove) => void) | undefined;
  #refreshing: Promise<unknown> = Promise.resolve();
  #undoing: Promise<void> | undefined;

  /** Nothing happens before the first change. `netns`: path of the network namespace to change. */
  static open(options: { netns?: string } = {}): SystemChanges {
    return new SystemChanges(options.netns);
  }

  private constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  /** Process id of the janitor, once there is one. */
  get janitorPid(): number | undefined {
    return this.#janitor?.pid;
  }

  /** Adds a route. Throws ERR_INTERFACE where the same is there already, ERR_ADDRESS, ERR_PERMISSION. */
  async addRoute(route: RouteSpec): Promise<void> {
    await this.#request({ op: 'addRoute', route: ours(route) });
  }

  /** Removes a route that was added here. */
  async removeRoute(route: RouteSpec): Promise<void> {
    await this.#request({ op: 'removeRoute', route: ours(route) });
  }

  /** Sends everything of these families through a device. Pin the peers first. */
  async routeDefault(device: string, families: readonly (4 | 6)[] = [4]): Promise<void> {
    for (const family of families) {
      const halves = family === 4 ? ['0.0.0.0/1', '128.0.0.0/1'] : ['::/1', '8000::/1'];
      for (const prefix of halves) await this.addRoute({ prefix, device });
    }
  }

  /**
   * Keeps the way to a peer as it would be without our routes, by a host route. With no way at all it is
   * unreachable, for into the tunnel its packets must not go; `refresh` mends that. Returns the way.
   */
  pinPeer(
    address: string,
    options: { /** Devices that do not count: the tunnel's own. */ avoid?: readonly string[] } = {},
  ): Promise<Path | null> {
    return this.#serially(async () => {
      const pinned = this.#pins.get(address);
      if (pinned) return pinned.path;
      const pin = await this.#resolve(address, options.avoid ?? []);
      if (pin.route) await this.addRoute(pin.route);
      if (pin.guard) await this.addRoute(pin.guard);
      this.#pins.set(address, pin);
      return pin.path;
    });
  }

  async unpinPeer(address: string): Promise<void> {
    await this.#serially(async () => {
      const pin = this.#pins.get(address);
      this.#pins.delete(address);
      if (pin?.guard) await this.removeRoute(pin.guard);
      if (pin?.route) await this.removeRoute(pin.route);
    });
  }

  /**
   * Looks again for the way to every pinned peer and renews the host routes of those that moved. Returns
   * these.
   */
  refresh(): Promise<PeerMove[]> {
    return this.#serially(async () => {
      const moves: PeerMove[] = [];
      for (const [address, pin] of this.#pins) {
        const now = await this.#resolve(address, pin.avoid);
        const here = pin.route === null || (await this.#isInPlace(address));
        if (here && sameRoute(pin.route, now.route) && sameRoute(pin.guard, now.guard)) continue;
        if (now.guard && !pin.guard) await this.addRoute(now.guard);
        if (pin.route && now.route) {
          await this.#request({ op: 'moveRoute', from: ours(pin.route), to: ours(now.route) });
        } else if (pin.route) await this.removeRoute(pin.route);
        else if (now.route) await this.addRoute(now.route);
        if (pin.guard && !now.guard) await this.removeRoute(pin.guard);
        this.#pins.set(address, now);
        moves.push({ address, path: now.path });
      }
      return moves;
    });
  }

  /** Calls `refresh` whenever links, addresses or routes change, and tells of each peer that moved. */
  async watchRoutes(onMove: (move: PeerMove) => void = () => {}): Promise<void> {
    this.#onMove = onMove;
    await this.#request({ op: 'watchRoutes' });
  }

  /**
   * Turns IP forwarding on where it is off. Undone by the last of our commands in the namespace that needs
   * it. Throws ERR_PERMISSION, also where /proc/sys is read-only.
   */
  async enableForwarding(families: readonly (4 | 6)[] = [4, 6]): Promise<void> {
    await this.#request({ op: 'enableForwarding', families });
  }

  /**
   * Lets hosts with addresses in `prefixes` out through every interface but `exceptInterface`, under the
   * address of the interface they leave by. A firewall that drops forwarded packets (Docker sets that policy)
   * goes on dropping them. Throws ERR_COMMAND without nftables, ERR_ADDRESS, ERR_PERMISSION.
   */
  async masquerade(
    prefixes: readonly string[],
    exceptInterface: string,
  ): Promise<{ table: string; owned: boolean }> {
    for (const prefix of prefixes) routeArguments({ prefix });
    const except = interfaceName(exceptInterface);
    return (await this.#request({ op: 'masquerade', prefixes, except })) as { table: string; owned: boolean };
  }

  /**
   * Undoes every change, the last first, and waits until it is done. May be called any number of times;
   * afterwards nothing can be changed through this object. Throws ERR_COMMAND naming what could not be
   * undone.
   */
  undo(): Promise<void> {
    this.#undoing ??= this.#undo();
    return this.#undoing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.undo();
  }

  async #undo(): Promise<void> {
    await this.#refreshing;
    let janitor = this.#janitor;
    if (!janitor) return;
    if (!janitor.running) {
      // Somebody killed it: what it wrote down tells another what to undo.
      const record = readRecords().find(({ pid }) => pid === janitor!.pid);
      if (!record) return;
      janitor = new Janitor({ netns: this.#netns });
      await janitor.request({ op: 'adopt', file: record.file });
    }
    const failures = (await janitor.request({ op: 'undo' })) as string[];
    await janitor.close();
    if (failures.length > 0) {
      throw new TunconnectorError('ERR_COMMAND', `not everything could be undone: ${failures.join('; ')}`);
    }
  }

  #request(request: JanitorRequest): Promise<unknown> {
    if (this.#undoing) {
      return Promise.reject(new TunconnectorError('ERR_CLOSED', 'these system changes were undone already'));
    }
    this.#janitor ??= new Janitor({ netns: this.#netns, onRoutes: () => void this.#routesChanged() });
    return this.#janitor.request(request);
  }

  async #routesChanged(): Promise<void> {
    if (this.#undoing) return;
    // A route that cannot be set at this moment is followed by another event when the network has settled.
    const moves = await this.refresh().catch(() => []);
    for (const move of moves) this.#onMove?.(move);
  }

  /** One look and change at a time: two at once would both replace the same route. */
  #serially<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#refreshing.then(work);
    this.#refreshing = result.catch(() => {});
    return result;
  }

  async #resolve(address: string, avoid: readonly string[]): Promise<Pin> {
    const path = await resolvePeerRoute(address, { netns: this.#netns, avoid });
    // A link-local address is reached through its own prefix, which no default route overrides.
    if (path?.local || path?.host || address.includes('%')) return { path, route: null, guard: null, avoid };
    const prefix = hostPrefix(address);
    const guard = { prefix, type: 'unreachable', metric: GUARD_METRIC } as const;
    const route = path && { prefix, via: path.via, device: path.device, source: path.preferred };
    return { path, route, guard, avoid };
  }

  async #isInPlace(address: string): Promise<boolean> {
    const covering = await readRoutes({ netns: this.#netns, match: address });
    return covering.some(
      (route) => route.prefix === hostPrefix(address) && route.type === 'unicast' && isOurs(route),
    );
  }
}

export interface PeerPath extends Path {
  /** Somebody else's route to this one address decides, which no default route overrides. */
  host: boolean;
  /** The source address that the route prefers; `source` is what the kernel would choose. */
  preferred: string | undefined;
}

/**
 * The way to an address as it would be without the routes made here and those through the devices `avoid`, or
 * null when there is none. Where a policy rule sends it to a table of its own, what that table says.
 */
export async function resolvePeerRoute(
  address: string,
  options: { netns?: string; avoid?: readonly string[] } = {},
): Promise<PeerPath | null> {
  const path = await routeTo(address, options);
  if (path && (path.local || path.table !== 'main' || address.includes('%'))) {
    return { ...path, host: false, preferred: undefined };
  }
  const covering = await readRoutes({ netns: options.netns, match: address });
  const best = covering
    .filter((route) => !isOurs(route) && !route.dead && !options.avoid?.includes(route.device ?? ''))
    .reduce<Route | undefined>((a, b) => (a && !isBetter(b, a) ? a : b), undefined);
  if (best?.type !== 'unicast' || best.device === undefined) return null;
  return {
    device: best.device,
    via: best.via,
    source: path?.device === best.device ? path.source : best.source,
    preferred: best.source,
    local: false,
    table: 'main',
    host: best.prefix === hostPrefix(address),
  };
}

/**
 * Undoes what is left of janitors that were killed themselves, in whatever network namespace still exists or
 * only in the one at `netns`, and returns what that was. With `dryRun` it only says. For `tunconnector doctor
 * --clean`.
 */
export async function doctorClean(options: { dryRun?: boolean; netns?: string } = {}): Promise<string[]> {
  const found: string[] = [];
  const only = options.netns ? statSync(options.netns).ino : undefined;
  for (const record of readRecords()) {
    if (isLive(record) || (only !== undefined && record.netns !== only)) continue;
    const netns = namespacePath(record);
    if (!netns) {
      // The namespace went, and everything in it.
      if (!options.dryRun) removeRecord(record.file);
      continue;
    }
    if (options.dryRun) {
      found.push(...record.changes.map(describeChange));
      continue;
    }
    const janitor = new Janitor({ netns });
    found.push(...((await janitor.request({ op: 'adopt', file: record.file })) as string[]));
    const failures = (await janitor.request({ op: 'undo' })) as string[];
    await janitor.close();
    if (failures.length > 0) {
      throw new TunconnectorError('ERR_COMMAND', `not everything could be undone: ${failures.join('; ')}`);
    }
  }
  return found;
}

/** A process that is in the network namespace of a record. */
function namespacePath(record: StoredRecord): string | null {
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const path = `/proc/${pid}/ns/net`;
    try {
      if (statSync(path).ino === record.netns) return path;
    } catch {
      // It has ended, or is not ours to look at.
    }
  }
  return null;
}

function ours(route: RouteSpec): RouteSpec {
  return { ...route, protocol: ROUTE_PROTOCOL };
}

function isOurs(route: Route): boolean {
  return route.protocol === String(ROUTE_PROTOCOL);
}

function isBetter(a: Route, b: Route): boolean {
  const length = ({ prefix }: Route) => Number(prefix.slice(prefix.indexOf('/') + 1));
  return length(a) > length(b) || (length(a) === length(b) && a.metric < b.metric);
}

function hostPrefix(address: string): string {
  return `${address}/${isIP(address) === 4 ? 32 : 128}`;
}

function sameRoute(a: RouteSpec | null, b: RouteSpec | null): boolean {
  return a === b || (a !== null && b !== null && routeArguments(a) === routeArguments(b));
}
