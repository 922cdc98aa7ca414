/** All suites by their names on the command line. */
import type { Experiment } from '../harness/rounds.ts';
import { bridgeExperiments } from './bridge.ts';
import { captureExperiments } from './capture.ts';
import { chainExperiments } from './chain/index.ts';
import { engineExperiments } from './engine.ts';
import { flowsExperiments } from './flows.ts';
import { gcExperiments } from './gc.ts';
import { impairExperiments } from './impair/index.ts';
import { nativeExperiments } from './native.ts';
import { rttExperiments } from './rtt.ts';
import { simExperiments } from './sim.ts';
import { slicingExperiments } from './slicing.ts';
import { stackExperiments } from './stack/index.ts';
import { tunnelExperiments } from './tunnel.ts';

export const SUITES: Record<string, { help: string; experiments(seconds: number): Experiment[] }> = {
  tunnel: { help: 'TCP and UDP throughput of tunnels', experiments: tunnelExperiments },
  rtt: { help: 'round-trip times, idle and under load', experiments: rttExperiments },
  bridge: { help: 'two interfaces joined by packet sockets', experiments: bridgeExperiments },
  engine: { help: 'packets between apps, in one process', experiments: engineExperiments },
  native: { help: 'segmentation and checksums of the addon', experiments: nativeExperiments },
  impair: { help: 'what impairments cost, and how they keep time', experiments: impairExperiments },
  chain: { help: 'what each function of a service chain costs', experiments: chainExperiments },
  stack: { help: 'the TCP of the stack, beside and against kernels', experiments: stackExperiments },
  slicing: {
    help: 'two ways to decide for each wire packet of a superframe',
    experiments: slicingExperiments,
  },
  sim: { help: 'simulated networks of 10, 100 and 1000 hosts', experiments: simExperiments },
  capture: { help: 'what a capture costs', experiments: captureExperiments },
  flows: { help: 'many TCP connections, many clients', experiments: flowsExperiments },
  gc: { help: 'garbage collections at full rate', experiments: gcExperiments },
};
