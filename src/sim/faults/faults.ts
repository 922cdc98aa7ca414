/**
 * What goes wrong in a simulation, and when: plain data, done one after the other in the order of their times. With `for` it ends by itself.
 */
import { z } from 'zod';
import { configError } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { duration } from '../../engine/units.ts';
import type { VirtualDiskFailure, VirtualDiskOptions } from '../../engine/virtual-storage.ts';
import type { ImpairSpec } from '../../impair/spec/spec.ts';
import type { Sets } from '../network/switch.ts';
import { checkImpairment } from '../topology/check-impairment.ts';
import type { CheckedTopology } from '../topology/topology.ts';
import { partition } from './partition.ts';

const span = z.union([z.number().nonnegative(), z.string()]);
const at = span;
/** How long it lasts; for ever when left out. */
const until = span.optional();
const link = z.string();
const host = z.string();

const diskSchema = z.strictObject({
  writeTime: span.optional(),
  syncTime: span.optional(),
  jitter: span.optional(),
  capacity: z.number().int().min(0).optional(),
});

const faultSchema = z.union(
  [
    /** Nothing passes the link. */
    z.strictObject({ at, for: until, down: link }),
    z.strictObject({ at, up: link }),
    /** Another impairment for it. */
    z.strictObject({ at, for: until, link, impair: z.unknown() }),
    /** Stages that packets pass behind those of the link, either way: `loss 50%`, `corrupt 5% duplicate 10%`. */
    z.strictObject({ at, for: until, link, burst: z.string() }),
    /** Hosts of different sets do not reach each other: every link between two sets is down. */
    z.strictObject({ at, for: until, partition: z.array(z.array(host).min(1)).min(2) }),
    /** Power of a host is lost, with what its disk had not synced. With `for` it is started again then. */
    z.strictObject({ at, for: until, crash: host }),
    /** It is started anew, with its program. */
    z.strictObject({ at, start: host }),
    /** It stands still: packets and timers wait until it goes on. */
    z.strictObject({ at, for: span, pause: host }),
    /** Its clock is fast by so much from now on. */
    z.strictObject({ at, for: until, host, ppm: z.number().gt(-1e5).lt(1e5) }),
    /** Its clock jumps forward, as that of a machine that slept. */
    z.strictObject({ at, host, jump: span }),
    /** Its disk is as slow, or as small. */
    z.strictObject({ at, for: until, host, disk: diskSchema }),
    /** The next such operation of its disk fails. */
    z.strictObject({
      ...{ at, host },
      diskFails: z.strictObject({
        operation: z.enum(['append', 'sync', 'read', 'replace', 'truncate', 'remove', 'list']),
        storage: z.string().optional(),
        file: z.string().optional(),
        errno: z.string().optional(),
      }),
    }),
  ],
  {
    error:
      'expected "at" with one of: "down", "up", or "link" with "impair" or "burst", of a link; "partition" of hosts; ' +
      '"crash", "start", "pause", or "host" with "ppm", "jump", "disk" or "diskFails", of a host; a "pause" has "for"',
  },
);

export type Fault = z.input<typeof faultSchema>;

/** One change of a link or a host. `by` tells what lasts apart from others of its kind: its end ends that one. */
export type Deed =
  /** With sets: switches keep these apart. */
  | { kind: 'cut'; links: readonly string[]; sets?: Sets; by: number }
  | { kind: 'mend'; links: readonly string[]; by: number }
  /** Whatever has cut it. */
  | { kind: 'up'; link: string }
  /** Without a spec: as the topology has it. */
  | { kind: 'impair'; link: string; spec: ImpairSpec | undefined }
  /** Without stages: no longer. */
  | { kind: 'burst'; link: string; stages: string | undefined; by: number }
  | { kind: 'crash'; host: string }
  | { kind: 'start'; host: string }
  | { kind: 'pause'; host: string; by: number }
  | { kind: 'resume'; host: string; by: number }
  /** Without ppm: as the topology has it. */
  | { kind: 'drift'; host: string; ppm: number | undefined }
  | { kind: 'jump'; host: string; span: number }
  /** Without options: as disks are. */
  | { kind: 'disk'; host: string; options: VirtualDiskOptions | undefined }
  | { kind: 'diskFails'; host: string; failure: VirtualDiskFailure };

export interface TimedFault {
  /** ns of the world's time. */
  at: number;
  deed: Deed;
  /** As a line of the log has it. */
  text: string;
}

/** By time, ends among them; those of one instant as they were written. @throws ERR_CONFIG */
export function checkFaults(faults: readonly Fault[], topology: CheckedTopology): TimedFault[] {
  return faults
    .flatMap((written, i) => checkFault(written, i, topology))
    .sort((a, b) => a.at - b.at || Number(isEnd(b)) - Number(isEnd(a)));
}

/** What ends at an instant ends before anything begins: one after the other is never both at once. */
const ends = new WeakSet<TimedFault>();
const isEnd = (fault: TimedFault): boolean => ends.has(fault);

interface Course {
  begin: Deed;
  text: string;
  end?: Deed;
  endText?: string;
}

function checkFault(written: Fault, by: number, topology: CheckedTopology): TimedFault[] {
  const place = `faults.${by}`;
  const fault = checkOptions(faultSchema, written);
  const time = duration(fault.at);
  const { begin, text, end, endText } = course(fault, by, place, topology);
  const found: TimedFault[] = [{ at: time, deed: begin, text }];
  const lasts = 'for' in fault ? fault.for : undefined;
  if (lasts !== undefined && end) {
    const last = { at: time + duration(lasts), deed: end, text: endText! };
    // One that lasts no time still begins before it ends.
    if (last.at > time) ends.add(last);
    found.push(last);
  }
  return found;
}

function course(
  fault: z.output<typeof faultSchema>,
  by: number,
  place: string,
  topology: CheckedTopology,
): Course {
  const known = (name: string, key: string, what: string, is: boolean) => {
    if (!is) throw configError(`${place}.${key}: found "${name}", expected one of the ${what}`);
    return name;
  };
  const isLink = (name: string) => topology.links.some((each) => each.name === name);
  const ofLink = (name: string, key = 'link') => known(name, key, 'links', isLink(name));
  const ofHost = (name: string, key = 'host') => known(name, key, 'hosts', topology.hosts.has(name));
  if ('down' in fault) {
    const links = [ofLink(fault.down, 'down')];
    return {
      ...{ begin: { kind: 'cut', links, by }, text: `link ${fault.down} is down` },
      ...{ end: { kind: 'mend', links, by }, endText: `link ${fault.down} is up` },
    };
  }
  if ('up' in fault) {
    const name = ofLink(fault.up, 'up');
    return { begin: { kind: 'up', link: name }, text: `link ${name} is up` };
  }
  if ('impair' in fault) {
    const name = ofLink(fault.link);
    const spec = (fault.impair ?? {}) as ImpairSpec;
    checkImpairment(`${place}.impair`, spec);
    return {
      begin: { kind: 'impair', link: name, spec },
      text: `link ${name} is ${typeof spec === 'string' ? spec : JSON.stringify(spec)}`,
      end: { kind: 'impair', link: name, spec: undefined },
      endText: `link ${name} is as it was`,
    };
  }
  if ('burst' in fault) {
    const name = ofLink(fault.link);
    const { burst: stages } = fault;
    checkImpairment(`${place}.burst`, stages);
    return {
      ...{ begin: { kind: 'burst', link: name, stages, by }, text: `link ${name} has ${stages} more` },
      end: { kind: 'burst', link: name, stages: undefined, by },
      endText: `link ${name} has ${stages} no more`,
    };
  }
  if ('partition' in fault) {
    for (const [n, set] of fault.partition.entries()) for (const name of set) ofHost(name, `partition.${n}`);
    const { links, sets } = partition(fault.partition, topology, `${place}.partition`);
    const named = fault.partition.map((set) => set.join(' ')).join(' | ');
    return {
      ...{ begin: { kind: 'cut', links, sets, by }, text: `apart: ${named}` },
      ...{ end: { kind: 'mend', links, by }, endText: `together: ${named}` },
    };
  }
  if ('crash' in fault) {
    const name = ofHost(fault.crash, 'crash');
    return {
      ...{ begin: { kind: 'crash', host: name }, text: `host ${name} crashes` },
      ...{ end: { kind: 'start', host: name }, endText: `host ${name} starts` },
    };
  }
  if ('start' in fault) {
    const name = ofHost(fault.start, 'start');
    return { begin: { kind: 'start', host: name }, text: `host ${name} starts` };
  }
  if ('pause' in fault) {
    const name = ofHost(fault.pause, 'pause');
    return {
      ...{ begin: { kind: 'pause', host: name, by }, text: `host ${name} stands still` },
      ...{ end: { kind: 'resume', host: name, by }, endText: `host ${name} goes on` },
    };
  }
  const name = ofHost(fault.host);
  if ('ppm' in fault) {
    return {
      begin: { kind: 'drift', host: name, ppm: fault.ppm },
      text: `the clock of host ${name} is ${fault.ppm} ppm fast`,
      end: { kind: 'drift', host: name, ppm: undefined },
      endText: `the clock of host ${name} goes as it did`,
    };
  }
  if ('jump' in fault) {
    const text = `the clock of host ${name} jumps by ${fault.jump}${typeof fault.jump === 'number' ? ' ns' : ''}`;
    return { begin: { kind: 'jump', host: name, span: duration(fault.jump) }, text };
  }
  if ('disk' in fault) {
    const { disk: options } = fault;
    for (const time of [options.writeTime, options.syncTime, options.jitter])
      if (time !== undefined) duration(time);
    return {
      begin: { kind: 'disk', host: name, options: options as VirtualDiskOptions },
      text: `the disk of host ${name} is ${JSON.stringify(options)}`,
      end: { kind: 'disk', host: name, options: undefined },
      endText: `the disk of host ${name} is as it was`,
    };
  }
  const failure = fault.diskFails as VirtualDiskFailure;
  const text = `the next ${failure.operation} of the disk of host ${name} fails`;
  return { begin: { kind: 'diskFails', host: name, failure }, text };
}
