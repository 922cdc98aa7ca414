/** The same path in C: with superframes, as good as it gets, and with one packet per system call. */
import type { Host } from 'tunconnector/testing';
import { startJson } from '../harness/json-program.ts';
import { INNER_MTU, type Lab, OUTER } from '../harness/lab.ts';
import { twin } from '../harness/root.ts';
import { addressLines, between, type Subject } from './subject.ts';

const PORT = 5555;

export const superframeTwin = subject('C, superframes', 'tunnel-superframes');
export const packetTwin = subject('C, per packet', 'tunnel-packets');

function subject(name: string, program: string): Subject {
  return {
    name,
    async start(lab) {
      const [a, b] = await Promise.all([
        startEnd(lab, lab.a, lab.placement.tunnelA, program, OUTER.a, OUTER.b),
        startEnd(lab, lab.b, lab.placement.tunnelB, program, OUTER.b, OUTER.a),
      ]);
      await Promise.all([lab.a.ip(addressLines('tun0', 'a')), lab.b.ip(addressLines('tun0', 'b'))]);
      return between(a, b);
    },
  };
}

const startEnd = (
  lab: Lab,
  host: Host,
  cpu: number | undefined,
  program: string,
  local: string,
  peer: string,
) =>
  startJson(lab, host, cpu, [
    ...[twin(program), 'tun0', `${local}:${PORT}`, `${peer}:${PORT}`],
    ...['--mtu', `${INNER_MTU}`],
  ]);
