/** Where to listen: `7580`, `192.168.6.9`, `192.168.6.9:80`, `[::1]:7580`, `*:7580`, `localhost`. */
import { TunconnectorError } from '../../errors.ts';
import { isIp, isLoopback as isLoopbackIp, parseIp } from '../../packet/address.ts';

export interface ListenAddress {
  host: string;
  /** 0 for any that is free. */
  port: number;
}

const LOOPBACK = '127.0.0.1';
const TEXT = /^(?:(\d{1,5})|(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?)$/;
/** Whose last label is no number: what looks like an address is to be one. */
const NAME = /^(?:[a-z\d-]{1,63}\.)*(?!\d+$)[a-z\d][a-z\d-]{0,62}$/i;
const isName = (host: string) => NAME.test(host);

/** @param text what is left out is loopback and `defaultPort` @throws ERR_ADDRESS */
export function parseListenAddress(text: string, defaultPort: number): ListenAddress {
  if (text === '') return { host: LOOPBACK, port: defaultPort };
  const match = TEXT.exec(text);
  const [, alone, bracketed, plain, behind] = match ?? [];
  const host = bracketed ?? (plain === '*' ? '0.0.0.0' : (plain ?? LOOPBACK));
  const port = Number(alone ?? behind ?? defaultPort);
  const valid = bracketed === undefined ? isName(host) || isIp(host) : isIp(host) && host.includes(':');
  if (match && valid && port < 65536) return { host, port };
  throw new TunconnectorError('ERR_ADDRESS', `found "${text}", expected an address to listen on`, {
    remedy: `give PORT, HOST or HOST:PORT, such as 127.0.0.1:${defaultPort}, with IPv6 in brackets`,
  });
}

/** Whether nobody but this machine can reach it. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || (isIp(host) && isLoopbackIp(parseIp(host)));

/** `http://` and so on, as people open it. */
export const urlOf = ({ host, port }: ListenAddress, protocol: 'http' | 'https' = 'http'): string =>
  `${protocol}://${host.includes(':') ? `[${host}]` : host}:${port}`;
