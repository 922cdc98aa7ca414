/** The zone of a link-local address as the kernel wants it: an interface's index. */
import { native } from '../native/load.ts';
import { systemError } from './system-error.ts';

/** @param zone interface name or index, as in `fe80::1%eth0`; 0 comes back when there is none */
export function scopeOf(zone: string | undefined, netns = ''): number {
  if (!zone) return 0;
  if (/^\d+$/.test(zone)) return Number(zone);
  try {
    return native().interfaceGet(zone, netns).index;
  } catch (error) {
    throw systemError(error, `the interface "${zone}"`);
  }
}
