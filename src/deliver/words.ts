/** Networks and addresses as users write them. */
import { z } from 'zod';
import { type IpAddress, isIp, parseIp } from '../packet/address.ts';
import { parseEndpoint, parsePrefix } from '../packet/prefix.ts';

const checked = (check: (text: string) => unknown) =>
  z.string().superRefine((text, context) => {
    try {
      check(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  });

/** An address, and a port where one is said. */
export interface Place {
  address: IpAddress;
  /** 0: whatever port. */
  port: number;
}

/** `192.0.2.1`, `192.0.2.1:53`, `[2001:db8::1]:53`. @throws ERR_ADDRESS */
export function parsePlace(text: string): Place {
  return isIp(text) ? { address: parseIp(text), port: 0 } : parseEndpoint(text);
}

/** `192.0.2.1=127.0.0.1`, `192.0.2.1:53=127.0.0.53:53`. @throws ERR_ADDRESS, Error */
export function parseMap(text: string): { from: Place; to: Place } {
  const [from, to, more] = text.split('=');
  if (from === undefined || to === undefined || more !== undefined)
    throw new Error(`found "${text}", expected ADDRESS=ADDRESS or ADDRESS:PORT=ADDRESS:PORT`);
  const map = { from: parsePlace(from), to: parsePlace(to) };
  if ((map.from.port === 0) !== (map.to.port === 0))
    throw new Error(`found "${text}", expected a port on both sides or on none`);
  return map;
}

export const PREFIX = checked((text) => parsePrefix(text, { length: 'host' }));
export const ADDRESS_MAP = checked(parseMap);
