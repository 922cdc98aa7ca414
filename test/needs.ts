/**
 * What a test needs beyond Node: `describe.skipIf(needs('tun', 'tcpdump'))('...', ...)`. Where something is
 * missing the tests are skipped, and `npm test` lists them at its end by name with the reason; under CI=true that
 * is a failure.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, appendFileSync, closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Anything else is the name of a program on the PATH. */
export type Need = 'root' | 'userns' | 'netns' | 'tun' | (string & {});

const run = (command: string, ...argv: string[]) =>
  spawnSync(command, argv, { stdio: 'ignore', timeout: 10_000 }).status === 0;

const checks: Record<string, () => string | undefined> = {
  root: () => (process.geteuid?.() === 0 ? undefined : 'root is needed'),
  userns: () =>
    run('unshare', '--user', '--map-root-user', '--net', 'true')
      ? undefined
      : 'the system does not allow user namespaces (kernel.unprivileged_userns_clone, AppArmor, seccomp)',
  netns: () =>
    run('unshare', '--net', 'true')
      ? undefined
      : 'network namespaces cannot be made (CAP_SYS_ADMIN is needed)',
  tun: () => {
    try {
      closeSync(openSync('/dev/net/tun', constants.O_RDWR));
      return undefined;
    } catch (error) {
      return `/dev/net/tun cannot be opened (${(error as NodeJS.ErrnoException).code})`;
    }
  },
};

function program(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  for (const directory of directories) {
    try {
      accessSync(join(directory || '.', name), constants.X_OK);
      return undefined;
    } catch {
      // The next directory may have it.
    }
  }
  return `the program ${name} is missing`;
}

const known = new Map<string, string | undefined>();

/** The reason why a need is not met, or undefined when it is. */
export function unmet(need: Need): string | undefined {
  if (!known.has(need)) known.set(need, Object.hasOwn(checks, need) ? checks[need]!() : program(need));
  return known.get(need);
}

/** True when something is missing: the argument of `describe.skipIf`. Registers the reasons for the final list. */
export function needs(...wanted: Need[]): boolean {
  const reasons = wanted.map(unmet).filter((reason) => reason !== undefined);
  if (reasons.length === 0) return false;
  const list = process.env.TUNCONNECTOR_SKIPS;
  if (list) appendFileSync(list, `${JSON.stringify({ file: testFile(), reasons })}\n`);
  else console.warn(`skipped in ${testFile()}: ${reasons.join('; ')}`);
  return true;
}

/** The test file that is being loaded: the first caller outside of this one. */
function testFile(): string {
  for (const line of new Error().stack?.split('\n') ?? []) {
    const found = /(file:\/\/)?(\/[^():]*\.test\.ts)/.exec(line);
    if (found) return found[1] ? fileURLToPath(found[0]) : found[2]!;
  }
  return 'unknown';
}
