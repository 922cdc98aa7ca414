/** Many hosts in one process, in virtual time. */
export type { Fault } from './faults.ts';
export type { Program, SimHost } from './host.ts';
export type { SimLink } from './link.ts';
export { type LogLine, Simulation, type SimulationOptions } from './simulation.ts';
export type { Topology } from './topology.ts';
