/** What goes wrong in a simulation, and when: plain data, done one after the other in the order of their times. */
import { z } from 'zod';
import { configError } from '../engine/config.ts';
import { checkOptions } from '../engine/options.ts';
import { duration } from '../engine/units.ts';
import { compileSpec, type ImpairSpec } from '../impair/spec/spec.ts';
import type { CheckedTopology } from './topology.ts';

const at = z.union([z.number().nonnegative(), z.string()]);
const link = z.string();
const host = z.string();

const faultSchema = z.union(
  [
    /** Nothing passes the link. */
    z.strictObject({ at, down: link }),
    z.strictObject({ at, up: link }),
    /** Another impairment for it. */
    z.strictObject({ at, link, impair: z.unknown() }),
    /** Power of a host is lost, with what its disk had not synced. */
    z.strictObject({ at, crash: host }),
    /** It is started anew, with its program. */
    z.strictObject({ at, start: host }),
    /** Its clock is fast by so much from now on. */
    z.strictObject({ at, host, ppm: z.number().gt(-1e5).lt(1e5) }),
  ],
  {
    error:
      'expected "at" with one of: "down", "up" or "link" and "impair", of a link; "crash", "start" or "host" and "ppm", of a host',
  },
);

export type Fault = z.input<typeof faultSchema>;

export type Deed =
  | { kind: 'down'; link: string }
  | { kind: 'up'; link: string }
  | { kind: 'impair'; link: string; spec: ImpairSpec }
  | { kind: 'crash'; host: string }
  | { kind: 'start'; host: string }
  | { kind: 'drift'; host: string; ppm: number };

export interface TimedFault {
  /** ns of the world's time. */
  at: number;
  deed: Deed;
  /** As a line of the log has it. */
  text: string;
}

/** By time; those of one instant as they were written. @throws ERR_CONFIG */
export function checkFaults(faults: readonly Fault[], topology: CheckedTopology): TimedFault[] {
  return faults.map((written, i) => checkFault(written, `faults.${i}`, topology)).sort((a, b) => a.at - b.at);
}

function checkFault(written: Fault, place: string, { hosts, links }: CheckedTopology): TimedFault {
  const fault = checkOptions(faultSchema, written);
  const time = duration(fault.at);
  const known = (name: string, key: string, what: string, is: boolean) => {
    if (!is) throw configError(`${place}.${key}: found "${name}", expected one of the ${what}`);
    return name;
  };
  const ofLink = (name: string, key: string) =>
    known(
      name,
      key,
      'links',
      links.some((each) => each.name === name),
    );
  const ofHost = (name: string, key: string) => known(name, key, 'hosts', hosts.has(name));
  if ('down' in fault) {
    const name = ofLink(fault.down, 'down');
    return { at: time, deed: { kind: 'down', link: name }, text: `link ${name} is down` };
  }
  if ('up' in fault) {
    const name = ofLink(fault.up, 'up');
    return { at: time, deed: { kind: 'up', link: name }, text: `link ${name} is up` };
  }
  if ('link' in fault) {
    const name = ofLink(fault.link, 'link');
    const spec = (fault.impair ?? {}) as ImpairSpec;
    compileSpec(spec);
    const text = `link ${name} is ${typeof spec === 'string' ? spec : JSON.stringify(spec)}`;
    return { at: time, deed: { kind: 'impair', link: name, spec }, text };
  }
  if ('crash' in fault) {
    const name = ofHost(fault.crash, 'crash');
    return { at: time, deed: { kind: 'crash', host: name }, text: `host ${name} crashes` };
  }
  if ('start' in fault) {
    const name = ofHost(fault.start, 'start');
    return { at: time, deed: { kind: 'start', host: name }, text: `host ${name} starts` };
  }
  const name = ofHost(fault.host, 'host');
  const text = `the clock of host ${name} is ${fault.ppm} ppm fast`;
  return { at: time, deed: { kind: 'drift', host: name, ppm: fault.ppm }, text };
}
