/** Something that carries packets between two hosts. */
import type { HostProcess } from 'tunconnector/testing';
import { INNER, type Lab } from '../harness/lab.ts';

export interface TunnelEnd {
  interface: string;
  v4: string;
  v6: string;
  /** What does the work, whose processor time counts; none where the kernel does it. */
  process?: HostProcess;
}

export interface Tunnel {
  a: TunnelEnd;
  b: TunnelEnd;
  /** Ends it. What it forgets ends with the hosts. */
  stop(): Promise<void>;
}

export interface Subject {
  /** As the table calls it. */
  name: string;
  /** Programs it needs. */
  needs?: readonly string[];
  /** It needs root itself, and not only in a user namespace. */
  root?: boolean;
  /** Starts it on both hosts, with `INNER` addresses and `INNER_MTU`. Packets need not pass yet. */
  start(lab: Lab): Promise<Tunnel>;
}

/** The tunnel between two processes that end on SIGTERM. */
export function between(
  a: HostProcess,
  b: HostProcess,
  interfaces: { a: string; b: string } = { a: 'tun0', b: 'tun0' },
): Tunnel {
  return {
    a: { interface: interfaces.a, v4: INNER.a, v6: INNER.a6, process: a },
    b: { interface: interfaces.b, v4: INNER.b, v6: INNER.b6, process: b },
    async stop() {
      await Promise.all([a.stop(), b.stop()]);
    },
  };
}

/** Lines of ip(8) that give an interface both inner addresses. */
export function addressLines(name: string, end: 'a' | 'b'): string[] {
  const [v4, v6] = end === 'a' ? [INNER.a, INNER.a6] : [INNER.b, INNER.b6];
  return [`addr add ${v4}/24 dev ${name}`, `addr add ${v6}/64 dev ${name} nodad`];
}
