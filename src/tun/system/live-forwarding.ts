/**
 * The sysctls that make a host a router, read and written in the network namespace this process is in.
 * Turning one on changes others along with it; each function returns how those were.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { TunconnectorError } from '../../errors.ts';
import { NEEDS_ADMIN } from '../system-error.ts';

const ROOT = '/proc/sys/net';

export const FORWARDING = { 4: 'ipv4/ip_forward', 6: 'ipv6/conf/all/forwarding' } as const;

export function readSysctl(key: string): string {
  return readFileSync(`${ROOT}/${key}`, 'latin1').trim();
}

/** Whether this host passes packets of others on, of either family. */
export function isForwarding(): boolean {
  return Object.values(FORWARDING).some((key) => existsSync(`${ROOT}/${key}`) && readSysctl(key) !== '0');
}

/** Throws ERR_PERMISSION, also where /proc/sys is mounted read-only as in many containers. */
export function writeSysctl(key: string, value: string): void {
  try {
    writeFileSync(`${ROOT}/${key}`, value);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const name = `net.${key.replaceAll('/', '.')}`;
    throw new TunconnectorError('ERR_PERMISSION', `sysctl ${name}=${value}: ${code}`, {
      remedy:
        code === 'EROFS' ? `set it where the container is started: --sysctl ${name}=${value}` : NEEDS_ADMIN,
      errno: code,
      cause: error,
    });
  }
}

/**
 * What has to be written back after forwarding is turned off again. Turning it on or off sets the same key of
 * every interface (Documentation/networking/ip-sysctl.rst, ip_forward), IPv4 also all.accept_redirects.
 */
export function forwardingSideEffects(family: 4 | 6): [key: string, value: string][] {
  const perInterface = family === 4 ? 'ipv4/conf' : 'ipv6/conf';
  const side: [string, string][] = [];
  if (family === 4)
    side.push(['ipv4/conf/all/accept_redirects', readSysctl('ipv4/conf/all/accept_redirects')]);
  for (const name of readdirSync(`${ROOT}/${perInterface}`)) {
    const forwarding = `${perInterface}/${name}/forwarding`;
    if (name !== 'all' && readSysctl(forwarding) !== '0') side.push([forwarding, readSysctl(forwarding)]);
    // See keepRouterAdvertisements.
    const accept = `${perInterface}/${name}/accept_ra`;
    if (family === 6 && listensToRouters(name)) side.push([accept, '1']);
  }
  return side;
}

/**
 * A router does not listen to routers: with forwarding on, Linux drops the default routes it learned from
 * router advertisements and takes no new ones, which would cut a host with SLAAC off. accept_ra=2 keeps them.
 */
export function keepRouterAdvertisements(): void {
  for (const name of readdirSync(`${ROOT}/ipv6/conf`)) {
    if (listensToRouters(name)) writeSysctl(`ipv6/conf/${name}/accept_ra`, '2');
  }
}

/** Interfaces that forward one by one already have lost those routes before us. */
function listensToRouters(name: string): boolean {
  if (name === 'all' || name === 'default' || name === 'lo') return false;
  return (
    readSysctl(`ipv6/conf/${name}/accept_ra`) === '1' && readSysctl(`ipv6/conf/${name}/forwarding`) === '0'
  );
}
