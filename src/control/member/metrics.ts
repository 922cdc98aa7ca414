/** Figures of a member of service chains for Prometheus: of its network, and of what is between it and Roulette. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { Member } from '../../chain/member/member.ts';
import type { AppReport } from '../../engine/app.ts';
import type { NetworkReport } from '../../engine/report.ts';
import type { ListenAddress } from '../http/address.ts';
import { urlOf } from '../http/address.ts';
import { listen, makeServer } from '../http/server.ts';

export interface MemberFigures {
  /** What it is: `ingress`, `egress`, the name of a function. */
  role: string;
  /** Of one that Roulette knows. */
  member?: Member['status'];
  network: NetworkReport;
}

/** The text of one scrape. */
export function metricsOf({ role, member, network }: MemberFigures): Promise<string> {
  const registry = new Registry();
  registry.setDefaultLabels({ role });
  const gauge: AddGauge = (name, help, value) =>
    new Gauge({ name: `tunconnector_chain_${name}`, help, registers: [registry] }).set(value);
  const counter: AddCounter = (name, help, labelNames = []) =>
    new Counter({ name: `tunconnector_chain_${name}_total`, help, labelNames, registers: [registry] });
  if (member) addMember(member, gauge, counter);
  const packets = counter('packets', 'wire packets, by link', ['link']);
  const bytes = counter('bytes', 'bytes, by link', ['link']);
  for (const { link, packets: count, bits } of network.links) {
    packets.inc({ link }, count);
    bytes.inc({ link }, Math.floor(bits / 8));
  }
  const drops = counter('drops', 'packets dropped, by app and reason', ['app', 'reason']);
  for (const { app, drops: reasons } of network.apps)
    for (const [reason, count] of Object.entries(reasons)) drops.inc({ app, reason }, count);
  const delivery = network.apps.find(({ app }) => app === 'deliver');
  if (delivery) addDelivery(delivery.report, gauge, counter);
  return registry.metrics();
}

/** What an egress opens of sockets. */
function addDelivery(report: AppReport, gauge: AddGauge, counter: AddCounter): void {
  const of = (key: string) => Number(report[key] ?? 0);
  gauge('delivery_connections', 'TCP connections to receivers', of('connections'));
  gauge('delivery_flows', 'UDP flows to receivers', of('flows'));
  counter('delivery_opened', 'TCP connections that were asked for').inc(of('opened'));
  counter('delivery_failed', 'those that could not be opened').inc(of('failed'));
  counter('delivery_broken', 'those that one side broke off').inc(of('broken'));
  counter('delivery_prohibited', 'connections, datagrams and pings to what may not be reached').inc(
    of('prohibited'),
  );
  counter('delivery_refused', 'those beyond what one client, or all, may have').inc(of('refused'));
  const bytes = counter('delivery_bytes', 'bytes of TCP', ['direction']);
  bytes.inc({ direction: 'up' }, of('bytesUp'));
  bytes.inc({ direction: 'down' }, of('bytesDown'));
  const datagrams = counter('delivery_datagrams', 'datagrams', ['direction']);
  datagrams.inc({ direction: 'up' }, of('datagramsUp'));
  datagrams.inc({ direction: 'down' }, of('datagramsDown'));
  gauge('delivery_pings', 'flows of pings to receivers', of('pings'));
  counter('delivery_pings_not_allowed', 'those for which the system allows no socket').inc(
    of('pingsNotAllowed'),
  );
  const echoes = counter('delivery_echoes', 'echo requests and replies', ['direction']);
  echoes.inc({ direction: 'up' }, of('echoesUp'));
  echoes.inc({ direction: 'down' }, of('echoesDown'));
}

type AddGauge = (name: string, help: string, value: number) => void;
type AddCounter = (name: string, help: string, labelNames?: string[]) => Counter;

function addMember(member: Member['status'], gauge: AddGauge, counter: AddCounter): void {
  gauge('replica', 'replica id, 0 before the registration', member.id);
  gauge('registered', '1 while Roulette has it', member.registered ? 1 : 0);
  gauge('connected', '1 while the watch is there', member.connected ? 1 : 0);
  gauge('registry_revision', 'revision of the registry that is known', member.rev);
  gauge('flows_known', 'flows this member has to do with', member.flows.known);
  gauge('flows_waiting', 'flows that are not registered yet', member.flows.waiting);
  counter('reconnects', 'watches that were opened anew').inc(Math.max(0, member.reconnects));
  counter('flows_registered', 'answers about flows').inc(member.flows.held);
  counter('flows_refused', 'flows that Roulette did not take').inc(member.flows.refused);
  counter('requests_failed', 'registrations that nobody answered').inc(member.flows.failures);
  counter('suspects', 'replicas reported as unreachable').inc(member.suspects);
}

export interface ServedMetrics {
  url: string;
  close(): Promise<void>;
}

/**
 * Serves `/metrics`.
 * @throws ERR_PORT_IN_USE, ERR_SOCKET, ERR_RESOLVE, ERR_PERMISSION; ERR_CONFIG for others than loopback without a token
 */
export async function serveMetrics(
  figures: () => Promise<MemberFigures>,
  { address, token, version }: { address: ListenAddress; token?: string; version: string },
): Promise<ServedMetrics> {
  const server = await makeServer({
    title: 'Metrics',
    description: 'Figures of a member of service chains.',
    version,
    unexpected: () => {},
    ...(token !== undefined && { token }),
  });
  server.get('/metrics', async (_request, reply) => {
    reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8');
    return metricsOf(await figures());
  });
  const at = await listen(server, address, token);
  return { url: `${urlOf(at)}/metrics`, close: () => server.close() };
}
