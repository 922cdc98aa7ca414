/** This program, this machine, and what the user may do on it. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, release } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../../native/load.ts';
import { runCommand, systemEnvironment } from '../../tun/system/live-command.ts';
import { errorLine } from '../exit.ts';
import { formatBytes } from '../format.ts';
import type { Finding } from './finding.ts';

const CAP_NET_ADMIN = 12n;
const CAP_NET_RAW = 13n;
/** What the UDP ports ask for. */
const WANTED_BUFFER = 8 << 20;
/**
 * Below this a burst does not fit: at 10 Gbit/s 4 MiB are 3.4 ms, about what a collection of garbage or a neighbour on
 * the core may take.
 */
const ENOUGH_BUFFER = 4 << 20;

const readText = (file: string): string => {
  try {
    return readFileSync(file, 'latin1').trim();
  } catch {
    return '';
  }
};

export function programFindings(): Finding[] {
  const group = 'this program';
  const findings: Finding[] = [
    { group, name: 'Node.js', mark: 'ok', found: `${process.version}, ${process.arch}` },
    addonFinding(group),
  ];
  if (process.arch === 'x64') {
    const avx2 = /^flags\s*:.*\bavx2\b/m.test(readText('/proc/cpuinfo'));
    findings.push({
      group,
      name: 'AVX2',
      mark: avx2 ? 'ok' : 'slow',
      found: avx2 ? 'yes' : 'no',
      ...(!avx2 && {
        cost: 'checksums take four times as long (46 instead of 12 ns for 1368 bytes)',
        remedy: 'none but another processor; in a virtual machine let the host’s processor through',
      }),
    });
  }
  if (process.env.TUNCONNECTOR_DEBUG) {
    findings.push({
      group,
      name: 'debug mode',
      mark: 'slow',
      found: 'TUNCONNECTOR_DEBUG is set',
      cost: 'every packet handle is checked',
      remedy: 'unset TUNCONNECTOR_DEBUG',
    });
  }
  return findings;
}

function addonFinding(group: string): Finding {
  const name = 'native addon';
  try {
    native();
    return { group, name, mark: 'ok', found: addonOrigin() };
  } catch (error) {
    return {
      group,
      name,
      mark: 'missing',
      needed: true,
      found: errorLine((error as Error).cause ?? error),
      cost: 'no TUN, no sockets: nothing works',
      remedy: 'npm run build:native (apt-get install python3 make g++)',
    };
  }
}

function addonOrigin(): string {
  const own = process.env.TUNCONNECTOR_NATIVE;
  if (own) return `TUNCONNECTOR_NATIVE=${own}`;
  const find = createRequire(import.meta.url)('node-gyp-build') as { path(root: string): string };
  const file = find.path(fileURLToPath(new URL('../../..', import.meta.url)));
  return file.split(path.sep).includes('prebuilds') ? 'prebuilt' : 'built here';
}

export function machineFindings(): Finding[] {
  const group = 'this machine';
  const cores = availableParallelism();
  const quota = cpuQuota();
  const few = cores < 2 || (quota !== undefined && quota < 2);
  return [
    { group, name: 'kernel', mark: 'ok', found: `Linux ${release()}` },
    {
      group,
      name: 'processor cores',
      mark: few ? 'slow' : 'ok',
      found: `${cores}${quota === undefined ? '' : `, limited to ${quota.toFixed(1)} (cgroup)`}`,
      ...(few && {
        cost: 'the tunnel and the programs that use it take turns on one core',
        remedy: quota === undefined ? 'give the machine a second core' : 'raise the limit of the container',
      }),
    },
  ];
}

/** Cores' worth of time that a container may use; undefined without a limit. */
function cpuQuota(): number | undefined {
  const [quota, period] = readText('/sys/fs/cgroup/cpu.max').split(' ').map(Number);
  return quota && period ? quota / period : undefined;
}

/** Opens a socket as a tunnel does, and looks at what it got. */
export function bufferFinding(): Finding {
  const group = 'this machine';
  const name = 'socket buffers';
  try {
    const address = new Uint8Array(16);
    const { fd, receiveBuffer, sendBuffer } = native().udpOpen({
      ...{ family: 4, address, scope: 0, port: 0, dualStack: false, reuse: false },
      ...{ buffer: WANTED_BUFFER, gso: false, gro: false, device: '', netns: '' },
    });
    native().close(fd);
    // The kernel doubles what is asked for, to have room for its own records.
    const [receive, send] = [receiveBuffer / 2, sendBuffer / 2];
    const found = `${formatBytes(receive)} to receive, ${formatBytes(send)} to send`;
    if (Math.min(receive, send) >= ENOUGH_BUFFER) return { group, name, mark: 'ok', found };
    return {
      group,
      name,
      mark: 'slow',
      found,
      cost: 'a burst of superframes does not fit, and datagrams are lost',
      remedy: `give CAP_NET_ADMIN, or sysctl -w net.core.rmem_max=${WANTED_BUFFER} net.core.wmem_max=${WANTED_BUFFER}`,
    };
  } catch (error) {
    return { group, name, mark: 'missing', needed: true, found: errorLine(error), cost: 'no UDP' };
  }
}

export async function permissionFindings(): Promise<Finding[]> {
  const group = 'permission';
  const capabilities = BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(readText('/proc/self/status'))?.[1] ?? '0'}`);
  const has = (bit: bigint) => ((capabilities >> bit) & 1n) === 1n;
  const refusal = await namespaceRefusal();
  const admin = has(CAP_NET_ADMIN);
  return [
    tunDeviceFinding(group),
    {
      group,
      name: 'CAP_NET_ADMIN',
      mark: admin ? 'ok' : 'missing',
      found: admin ? 'yes' : 'no',
      needed: refusal !== undefined,
      ...(!admin && {
        cost: 'no interfaces, addresses or routes on this host',
        remedy: refusal === undefined ? 'run it as root, or a tunnel with --rootless' : 'run it as root',
      }),
    },
    {
      group,
      name: 'CAP_NET_RAW',
      mark: has(CAP_NET_RAW) ? 'ok' : 'missing',
      found: has(CAP_NET_RAW) ? 'yes' : 'no',
      ...(!has(CAP_NET_RAW) && {
        cost: 'no captures of interfaces and no packet sockets',
        remedy: 'run these as root',
      }),
    },
    {
      group,
      name: 'user namespaces',
      mark: refusal === undefined ? 'ok' : 'missing',
      found: refusal ?? 'allowed',
      ...(refusal !== undefined && {
        cost: 'no --rootless',
        remedy:
          'sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0',
      }),
    },
  ];
}

function tunDeviceFinding(group: string): Finding {
  const name = '/dev/net/tun';
  try {
    closeSync(openSync(name, 'r+'));
    return { group, name, mark: 'ok', found: 'can be opened' };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const remedies: Record<string, string> = {
      ENOENT: existsSync('/dev/net')
        ? 'mknod /dev/net/tun c 10 200'
        : 'modprobe tun; in a container: --device /dev/net/tun',
      ENODEV: 'modprobe tun; the kernel may have been updated without a reboot',
      EACCES: 'chmod 666 /dev/net/tun, or run it as root',
      EPERM: 'allow the device in the container: --device /dev/net/tun',
    };
    return {
      group,
      name,
      mark: 'missing',
      needed: true,
      found: code ?? 'no',
      cost: 'no TUN and no TAP',
      remedy: remedies[code ?? ''] ?? 'modprobe tun',
    };
  }
}

/** Why an ordinary user cannot have a network namespace of their own; undefined where they can. */
async function namespaceRefusal(): Promise<string | undefined> {
  try {
    const argv = ['unshare', '--user', '--map-root-user', '--net', 'true'];
    const { code, stderr } = await runCommand(argv);
    return code === 0
      ? undefined
      : stderr
          .trim()
          .split('\n')[0]
          ?.replace(/^unshare: /, '') || 'refused';
  } catch (error) {
    return errorLine(error);
  }
}

const PROGRAMS = [
  { name: 'ip', package: 'iproute2', needed: true, cost: 'no interfaces, addresses and routes' },
  { name: 'nft', package: 'nftables', needed: false, cost: 'no --nat' },
  { name: 'nsenter', package: 'util-linux', needed: false, cost: 'no --rootless, no bench' },
  { name: 'setpriv', package: 'util-linux', needed: false, cost: 'no --user that follows the MTU' },
] as const;

export function toolFindings(): Finding[] {
  const group = 'programs';
  const folders = (systemEnvironment().PATH ?? '').split(':');
  return PROGRAMS.map(({ name, package: from, needed, cost }) => {
    const file = folders.map((folder) => path.join(folder || '.', name)).find((each) => existsSync(each));
    if (file) return { group, name, mark: 'ok', found: file };
    return {
      group,
      name,
      mark: 'missing',
      found: 'not found',
      needed,
      cost,
      remedy: `apt-get install ${from}`,
    };
  });
}
