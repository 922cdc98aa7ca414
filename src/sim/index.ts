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
export {
  type Exploration,
  type ExploreOptions,
  explore,
  type FoundFailure,
  type Scenario,
} from './explore/explore.ts';
export {
  type ExploreModuleOptions,
  exploreModule,
  MOST_WORKERS,
  type ScenarioModule,
} from './explore/live-explore.ts';
export { type Shrunk, shrink } from './explore/shrink.ts';
export type { Failure } from './failure.ts';
export type { Fault } from './faults/faults.ts';
export { FAULT_KINDS, type FaultKind, type RandomFaultsOptions, randomFaults } from './faults/random.ts';
export { type ProgramSpec, parseSimulation, type SimulationFile } from './file.ts';
export type { FlowFigures } from './flows/flow.ts';
export { type LoadedSimulation, loadSimulation } from './live-load.ts';
export { simulate } from './live-simulate.ts';
export type { Program, SimHost } from './network/host.ts';
export type { SimLink } from './network/link.ts';
export type { SimSwitch, SwitchReport } from './network/switch.ts';
export { Outputs } from './outputs/live-outputs.ts';
export { type Line, type Panel, plot } from './outputs/plot.ts';
export { type Sample, Series, seriesCsv } from './outputs/series.ts';
export { DatagramPort } from './runtime/datagram-port.ts';
export { type LogLine, Simulation, type SimulationOptions } from './simulation.ts';
export type { Topology } from './topology/topology.ts';
export type { Witness } from './trace.ts';
