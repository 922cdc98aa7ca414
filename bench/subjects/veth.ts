/** The wire itself: what the kernel does without any tunnel. */
import { OUTER } from '../harness/lab.ts';
import type { Subject } from './subject.ts';

export const veth: Subject = {
  name: 'plain veth',
  async start() {
    return {
      a: { interface: 'eth0', v4: OUTER.a, v6: OUTER.a6 },
      b: { interface: 'eth0', v4: OUTER.b, v6: OUTER.b6 },
      async stop() {},
    };
  },
};
