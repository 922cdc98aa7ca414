/** What others made, as Debian ships it: beside us, where it is installed. */
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Host } from 'tunconnector/testing';
import { INNER, INNER_MTU, type Lab, OUTER } from '../harness/lab.ts';
import { addressLines, between, type Subject, type Tunnel } from './subject.ts';

const START_LIMIT_MS = 15_000;
/** Socket buffers of OpenVPN, bytes: its default is the system's, which is small. */
const BUFFER = 2 << 20;

/** Without cryptography on either side, and without the kernel module: one packet per system call in userspace. */
export const openvpn: Subject = {
  name: 'OpenVPN, no crypto',
  needs: ['openvpn'],
  async start(lab) {
    const start = async (
      host: Host,
      cpu: number | undefined,
      end: {
        local: string;
        remote: string;
        inner: string;
        innerPeer: string;
        inner6: string;
        innerPeer6: string;
      },
    ) => {
      const process = lab.spawn(host, cpu, [
        ...['openvpn', '--dev', 'tun0', '--dev-type', 'tun', '--proto', 'udp4', '--port', '1194'],
        ...['--local', end.local, '--remote', end.remote, '--ifconfig', end.inner, end.innerPeer],
        ...['--ifconfig-ipv6', `${end.inner6}/64`, end.innerPeer6, '--tun-mtu', `${INNER_MTU}`],
        ...['--cipher', 'none', '--auth', 'none', '--disable-dco', '--fast-io', '--txqueuelen', '1000'],
        ...['--sndbuf', `${BUFFER}`, '--rcvbuf', `${BUFFER}`],
      ]);
      await process.waitFor('UDPv4 link remote', START_LIMIT_MS);
      return process;
    };
    const [a, b] = await Promise.all([
      start(lab.a, lab.placement.tunnelA, {
        ...{ local: OUTER.a, remote: OUTER.b, inner: INNER.a, innerPeer: INNER.b },
        ...{ inner6: INNER.a6, innerPeer6: INNER.b6 },
      }),
      start(lab.b, lab.placement.tunnelB, {
        ...{ local: OUTER.b, remote: OUTER.a, inner: INNER.b, innerPeer: INNER.a },
        ...{ inner6: INNER.b6, innerPeer6: INNER.a6 },
      }),
    ]);
    return between(a, b);
  },
};

export const socat: Subject = {
  name: 'socat',
  needs: ['socat'],
  async start(lab) {
    const start = async (host: Host, cpu: number | undefined, end: 'a' | 'b') => {
      const [local, peer] = end === 'a' ? [OUTER.a, OUTER.b] : [OUTER.b, OUTER.a];
      const process = lab.spawn(host, cpu, [
        ...['socat', '-d', '-d', 'TUN,tun-name=tun0,iff-no-pi,iff-up'],
        `UDP4-DATAGRAM:${peer}:5555,bind=${local}:5555`,
      ]);
      await process.waitFor('starting data transfer loop', START_LIMIT_MS);
      await host.ip([`link set tun0 mtu ${INNER_MTU}`, ...addressLines('tun0', end)]);
      return process;
    };
    return between(
      ...(await Promise.all([
        start(lab.a, lab.placement.tunnelA, 'a'),
        start(lab.b, lab.placement.tunnelB, 'b'),
      ])),
    );
  },
};

/** It encrypts, which nothing else here does: a figure to know, no bar. */
export const wireguardGo: Subject = {
  name: 'wireguard-go (encrypts)',
  needs: ['wireguard-go', 'wg'],
  // For the directory of its control sockets.
  root: true,
  async start(lab) {
    // Its control sockets are named after the interfaces, and all on this machine lie in one directory.
    const names = { a: `wga${process.pid}`, b: `wgb${process.pid}` };
    const [a, b] = await Promise.all([
      wireguardEnd(lab, lab.a, lab.placement.tunnelA, names.a),
      wireguardEnd(lab, lab.b, lab.placement.tunnelB, names.b),
    ]);
    await Promise.all([
      wireguardPeer(lab.a, names.a, b.publicKey, OUTER.b),
      wireguardPeer(lab.b, names.b, a.publicKey, OUTER.a),
    ]);
    await Promise.all([lab.a.ip(addressLines(names.a, 'a')), lab.b.ip(addressLines(names.b, 'b'))]);
    const tunnel = between(a.process, b.process, names);
    return {
      ...tunnel,
      async stop() {
        await tunnel.stop();
        await Promise.all(Object.values(names).map(removeSocket));
      },
    } satisfies Tunnel;
  },
};

const WIREGUARD_PORT = 51_820;

const removeSocket = (name: string) => rm(`/var/run/wireguard/${name}.sock`, { force: true });

async function wireguardEnd(lab: Lab, host: Host, cpu: number | undefined, name: string) {
  const process = lab.spawn(host, cpu, ['wireguard-go', '--foreground', name], {
    env: { ...globalThis.process.env, LOG_LEVEL: 'verbose' },
  });
  // Whatever ends the run, the socket goes.
  void process.ended.then(() => removeSocket(name)).catch(() => {});
  await process.waitFor('UAPI listener started', START_LIMIT_MS);
  const privateKey = await lab.run(host, undefined, ['wg', 'genkey']);
  // A file, because wg opens what it is given, and Node's standard input is a socket, which cannot be opened.
  const file = path.join(lab.scratch, `${name}.key`);
  await writeFile(file, privateKey, { mode: 0o600 });
  const set = ['wg', 'set', name, 'listen-port', `${WIREGUARD_PORT}`, 'private-key', file];
  await host.exec(set, { check: true });
  await rm(file);
  await host.ip(`link set ${name} mtu ${INNER_MTU} up`);
  const { stdout } = await host.exec(['wg', 'pubkey'], { check: true, input: privateKey });
  return { process, publicKey: stdout.trim() };
}

async function wireguardPeer(host: Host, name: string, key: string, outer: string): Promise<void> {
  const allowed = ['allowed-ips', '0.0.0.0/0,::/0', 'endpoint', `${outer}:${WIREGUARD_PORT}`];
  await host.exec(['wg', 'set', name, 'peer', key, ...allowed], { check: true });
}
