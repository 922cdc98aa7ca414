/** What each request does, for the API's description. */
import type { RequestName } from '../../chain/roulette/remote/api.ts';

export const SUMMARIES: Record<RequestName, string> = {
  'tenant.put': 'Makes or changes a tenant',
  'tenant.remove': 'Removes a tenant that is empty',
  'function.put': 'Declares a function',
  'function.remove': 'Removes a function that no chain and no replica uses',
  'chain.put': 'Makes a chain, or a new revision of it: flows move with their next packet',
  'chain.end': 'Takes no new flows; the chain goes when no packet can carry it any more',
  'classifier.put': 'Puts other rules in place of all that there are',
  'lease.grant': 'A lease, which replicas hang on',
  'lease.keep': 'A fresh term for a lease',
  'lease.end': 'Ends a lease and takes its replicas away',
  'replica.put': 'Registers or changes a replica; without an id it gets one',
  'replica.state': 'Drains a replica, or takes it back into service',
  'replica.remove': 'Takes a replica away',
  'suspect.report': 'Somebody cannot reach a replica: it is asked, and removed if it does not answer',
  'flows.register': 'Gets or makes flows; what is held wins',
  'flows.touch': 'Packets of these flows were seen',
  'flows.remove': 'Flows that have ended',
  'flow.pin': 'Puts a flow on replicas by hand',
  'flow.trace': 'Sends a probe along the path of a flow, and says how long it took to each hop and back',
  'flow.traced': 'What an ingress found that was asked for a trace',
};
