/**
 * The state of the system's network as text, to show that a program left everything as it found it:
 * `expect(await snapshotSystem()).toBe(before)`.
 */

import { readdir } from 'node:fs/promises';
import { type CommandOptions, type CommandResult, runCommand } from '../tun/system/live-command.ts';

export interface SnapshotOptions {
  /** Path of a network namespace. Default: the one this process is in. */
  netns?: string;
  /** How to run a program there, in place of `netns`. */
  run?: (argv: readonly string[], options?: CommandOptions) => Promise<CommandResult>;
}

/** What changes by itself: lifetimes, timers of bridges, the end of duplicate address detection. */
const VOLATILE = /^(?:valid_life_time|preferred_life_time|expires|used|users|age|tentative|.*_timer)$/;

const SYSCTLS = `cd /proc/sys/net && grep -s . \
ipv4/ip_forward ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/accept_redirects \
ipv6/conf/*/forwarding ipv6/conf/*/accept_ra`;

/**
 * One line per interface with its addresses, per route and rule of every table, per forwarding sysctl, the
 * nftables ruleset where `nft` is installed, what /run/tunconnector holds about this namespace, and for the
 * machine's own the names in /run/netns. Sorted, so that two snapshots differ only where the systems do, and
 * a test runner's diff is readable. Throws ERR_COMMAND where iproute2 is missing.
 */
export async function snapshotSystem(options: SnapshotOptions = {}): Promise<string> {
  const run = options.run ?? ((argv, more) => runCommand(argv, { ...more, netns: options.netns }));
  const perFamily = 'route show table all\nrule show\n';
  const [links, v4, v6, sysctls, nft, own, names, records] = await Promise.all([
    run(['ip', '-d', '-j', 'addr', 'show']),
    run(['ip', '-4', '-d', '-j', '-batch', '-'], { input: perFamily }),
    run(['ip', '-6', '-d', '-j', '-batch', '-'], { input: perFamily }),
    run(['sh', '-c', SYSCTLS]),
    run(['nft', '-s', 'list', 'ruleset']).catch(() => null),
    run(['stat', '-L', '-c', '%i', '/proc/self/ns/net']),
    // Names belong to the machine: others may come and go while one throw-away host is looked at.
    options.run || options.netns ? [] : listDirectory('/run/netns'),
    listDirectory('/run/tunconnector'),
  ]);
  return [
    ...jsonLines('link', links.stdout),
    ...jsonLines('ipv4', v4.stdout),
    ...jsonLines('ipv6', v6.stdout),
    ...sysctls.stdout.trim().split('\n').sort(),
    ...(nft ? (nft.stdout + nft.stderr).trimEnd().split('\n') : []).map((line) => `nft ${line}`),
    ...names.map((name) => `/run/netns/${name}`),
    ...records
      .filter((name) => name.startsWith(`${own.stdout.trim()}-`))
      .map((name) => `/run/tunconnector/${name}`),
    '',
  ].join('\n');
}

/** `ip -j` writes one array per command, each on a line of its own; with no routes it writes nothing. */
function jsonLines(label: string, text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('['))
    .flatMap((line) => JSON.parse(line) as unknown[])
    .map(
      (entry) =>
        `${label} ${JSON.stringify(entry, (key, value) => (VOLATILE.test(key) ? undefined : value))}`,
    )
    .sort();
}

async function listDirectory(path: string): Promise<string[]> {
  return readdir(path).then(
    (names) => names.sort(),
    () => [],
  );
}
