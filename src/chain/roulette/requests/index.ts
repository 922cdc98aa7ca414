/** All requests by name, but those about leases, which the store answers. */
import {
  endChain,
  putChain,
  putClassifier,
  putFunction,
  putTenant,
  removeFunction,
  removeTenant,
} from './configuration.ts';
import { pinFlow, registerFlows, removeFlows, touchFlows } from './flows.ts';
import { putReplica, removeReplica, reportSuspect, setReplicaState } from './replicas.ts';
import type { RequestKind } from './request.ts';
import { answerTrace, traceFlow } from './traces.ts';

export const REQUESTS = {
  'tenant.put': putTenant,
  'tenant.remove': removeTenant,
  'function.put': putFunction,
  'function.remove': removeFunction,
  'chain.put': putChain,
  'chain.end': endChain,
  'classifier.put': putClassifier,
  'replica.put': putReplica,
  'replica.state': setReplicaState,
  'replica.remove': removeReplica,
  'suspect.report': reportSuspect,
  'flows.register': registerFlows,
  'flows.touch': touchFlows,
  'flows.remove': removeFlows,
  'flow.pin': pinFlow,
  'flow.trace': traceFlow,
  'flow.traced': answerTrace,
} as unknown as Readonly<Record<string, RequestKind>>;
