/** The two ends of an impaired link: interfaces that are there, and TUNs and TAPs that are made. */
import type { AppSpec } from '../../engine/app.ts';
import { TunconnectorError } from '../../errors.ts';
import { packetSocket } from '../../tun/packet-socket.ts';
import { runCommand } from '../../tun/system/live-command.ts';
import { configureInterface } from '../../tun/system/live-ip.ts';
import { checkInterfaceName, tun } from '../../tun/tun.ts';
import { usageError } from '../exit.ts';

export interface LinkEnd {
  /** As people call it. */
  readonly name: string;
  readonly port: AppSpec;
  /** What is left to do once the port is open. */
  up(): Promise<void>;
}

/** `veth0`, `tun:NAME` or `tap:NAME`. @throws ERR_USAGE, ERR_CONFIG, ERR_INTERFACE */
export async function linkEnd(text: string): Promise<LinkEnd> {
  const made = /^(tun|tap):(.+)$/.exec(text);
  if (made) {
    const [, mode, name] = made as unknown as [string, 'tun' | 'tap', string];
    checkInterfaceName(name);
    const port = tun({ name, mode });
    return { name, port, up: async () => void (await configureInterface({ name, up: true })) };
  }
  checkInterfaceName(text);
  await checkEthernet(text);
  return { name: text, port: packetSocket({ interface: text }), up: async () => {} };
}

async function checkEthernet(name: string): Promise<void> {
  const { code, stdout } = await runCommand(['ip', '-j', 'link', 'show', 'dev', name]);
  if (code !== 0) {
    throw new TunconnectorError('ERR_INTERFACE', `there is no interface "${name}"`, {
      remedy: `name one that "ip link" lists; tun:${name} or tap:${name} makes one`,
    });
  }
  const [{ link_type: type, flags }] = JSON.parse(stdout) as [{ link_type: string; flags: string[] }];
  if (type !== 'ether') {
    throw new TunconnectorError('ERR_INTERFACE', `the interface "${name}" is of type ${type}, not Ethernet`, {
      remedy: type === 'none' ? `tun:${name} takes a TUN that no program has open` : 'choose another',
    });
  }
  if (!flags.includes('UP')) throw usageError(`the interface "${name}" is down`, `ip link set ${name} up`);
}
