/** Many hosts in one process, in virtual time. */
export { RegistryChannels } from './chain/connection.ts';
export {
  type ChainEndProgramOptions,
  egressProgram,
  ingressProgram,
  type VnfProgramOptions,
  vnfProgram,
} from './chain/members.ts';
export { type RouletteProgramOptions, rouletteProgram } from './chain/roulette.ts';
export { DatagramPort } from './datagram-port.ts';
export {
  type Exploration,
  type ExploreOptions,
  explore,
  type FoundFailure,
  type Scenario,
} from './explore.ts';
export type { Failure } from './failure.ts';
export type { Fault } from './faults.ts';
export { type ProgramSpec, parseSimulation, type SimulationFile } from './file.ts';
export type { FlowFigures } from './flows/flow.ts';
export type { Program, SimHost } from './host.ts';
export type { SimLink } from './link.ts';
export {
  type ExploreModuleOptions,
  exploreModule,
  MOST_WORKERS,
  type ScenarioModule,
} from './live-explore.ts';
export { type LoadedSimulation, loadSimulation } from './live-load.ts';
export { Outputs } from './live-outputs.ts';
export { simulate } from './live-simulate.ts';
export { type Line, type Panel, plot } from './plot.ts';
export { FAULT_KINDS, type FaultKind, type RandomFaultsOptions, randomFaults } from './random-faults.ts';
export { type Sample, Series, seriesCsv } from './series.ts';
export { type Shrunk, shrink } from './shrink.ts';
export { type LogLine, Simulation, type SimulationOptions } from './simulation.ts';
export type { SimSwitch, SwitchReport } from './switch.ts';
export type { Topology } from './topology.ts';
export type { Witness } from './trace.ts';
