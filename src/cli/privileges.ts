/**
 * `--user`: when everything is set up the process becomes somebody else and keeps no capability. What may still be
 * needed, setting the interface's MTU, is left to an ip(8) beside it that has CAP_NET_ADMIN and nothing more.
 * The janitor that undoes changes keeps its privileges: it takes orders from a pipe, and they are few.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { TunconnectorError } from '../errors.ts';
import { runCommand, systemEnvironment } from '../tun/system/live-command.ts';
import { interfaceName, readInterface } from '../tun/system/live-ip.ts';
import type { InterfaceChange } from '../tunnel/connector/machine.ts';
import { usageError } from './exit.ts';

export interface Account {
  name: string;
  uid: number;
  gid: number;
  groups: number[];
}

/** @throws ERR_USAGE when there is no such user, ERR_PERMISSION when this process may not become anybody */
export async function findAccount(name: string): Promise<Account> {
  if (process.geteuid?.() !== 0) {
    throw new TunconnectorError('ERR_PERMISSION', `--user: only root can become ${name}`, {
      remedy: 'run it as root, or leave --user out',
    });
  }
  const flags = ['-u', '-g', '-G'];
  const found = await Promise.all(flags.map((flag) => runCommand(['id', flag, '--', name])));
  if (found.some(({ code }) => code !== 0)) {
    throw usageError(`--user: there is no user "${name}"`, 'getent passwd lists them');
  }
  const [[uid], [gid], groups] = found.map(({ stdout }) => stdout.trim().split(' ').map(Number));
  return { name, uid: uid!, gid: gid!, groups: groups! };
}

/** Sets the MTU of interfaces, and what goes with it, with CAP_NET_ADMIN alone. Start it while still root. */
export class MtuHelper {
  readonly #ip: ChildProcess;

  constructor({ uid, gid }: Account) {
    const caps = '-all,+net_admin';
    const setpriv = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs'];
    const capabilities = [`--inh-caps=${caps}`, `--ambient-caps=${caps}`, `--bounding-set=${caps}`];
    const argv = [...setpriv, ...capabilities, '--', 'ip', '-force', '-batch', '-'];
    // Its own process group: Ctrl-C is for us, and with us its input ends.
    this.#ip = spawn('setpriv', argv, {
      stdio: ['pipe', 'ignore', 'ignore'],
      env: systemEnvironment(),
      detached: true,
    });
    this.#ip.on('error', () => {});
    this.#ip.stdin!.on('error', () => {});
    this.#ip.unref();
  }

  async set({ name, mtu, gsoMaxSize }: InterfaceChange): Promise<void> {
    const words = [
      ...(mtu === undefined ? [] : [`mtu ${Math.trunc(mtu)}`]),
      ...(gsoMaxSize === undefined ? [] : [`gso_max_size ${Math.trunc(gsoMaxSize)}`]),
    ];
    for (const each of words) this.#ip.stdin!.write(`link set dev ${interfaceName(name)} ${each}\n`);
    for (let round = 0; round < 50; round++) {
      if ((await readInterface(name)).mtu === mtu) return;
      await sleep(10);
    }
    throw new TunconnectorError('ERR_INTERFACE', `${name}: the MTU could not be set to ${mtu}`);
  }

  close(): void {
    this.#ip.stdin!.end();
  }
}

/** From here on this process is `account`, without groups and capabilities that are not its own. */
export function becomeUser({ uid, gid, groups }: Account): void {
  process.setgroups!(groups);
  process.setgid!(gid);
  process.setuid!(uid);
}
