/** The offloads that make the tunnel fast, each tried in a throw-away host (probe.ts). */
import { fileURLToPath } from 'node:url';
import { TunOffload } from '../../native/binding.ts';
import { createWorld } from '../../testing/namespaces.ts';
import type { Verdict } from '../../tun/udp-self-test.ts';
import { errorLine } from '../exit.ts';
import type { Finding } from './finding.ts';
import type { ProbeResult, SuperframeKind } from './probe.ts';

/** Node runs no TypeScript before version 22, so from the sources the compiled child is used. */
const PROBE = fileURLToPath(
  import.meta.url.endsWith('.ts')
    ? new URL('../../../dist/cli/doctor/probe.js', import.meta.url)
    : new URL('./probe.js', import.meta.url),
);

const GROUP = 'offloads';

export async function offloadFindings(): Promise<Finding[]> {
  try {
    return describeProbe(await runProbe());
  } catch (error) {
    return [
      {
        group: GROUP,
        name: 'trial',
        mark: 'slow',
        found: errorLine(error),
        cost: 'nothing is known of the offloads; the tunnel uses what the kernel grants',
        remedy: 'run it as root, or allow user namespaces',
      },
    ];
  }
}

async function runProbe(): Promise<ProbeResult> {
  await using world = await createWorld({ name: 'doctor' });
  const host = await world.host('probe');
  const { stdout } = await host.exec([process.execPath, PROBE], { check: true, timeout: 10_000 });
  return JSON.parse(stdout) as ProbeResult;
}

/** One way in which the data path gets slow, with measured figures. */
interface Path {
  name: string;
  there: boolean;
  verdict: Verdict | undefined;
  found: string;
  cost: string;
  remedy: string;
}

const KERNEL = 'a newer kernel';

export function describeProbe(result: ProbeResult): Finding[] {
  const { tun, packetSocket, udp, superframes } = result;
  const [header, offloads] = 'error' in tun ? [0, 0] : [tun.vnetHeader, tun.offloads];
  const why = 'error' in tun ? tun.error : undefined;
  const device = (name: string, bit: number, kinds: SuperframeKind[], cost: string, since: string): Path => {
    const verdicts = kinds.map((kind) => superframes[kind]);
    const worst = (['failed', 'absent', 'passed'] as const).find((each) => verdicts.includes(each));
    return {
      name,
      there: (offloads & bit) !== 0,
      verdict: worst,
      found: why ?? 'the kernel has none',
      cost,
      remedy: `${KERNEL} (Linux ${since})`,
    };
  };
  const paths: Path[] = [
    {
      name: 'vnet_hdr',
      there: header > 0,
      verdict: undefined,
      found: why ?? 'the kernel has none',
      cost: 'TCP runs at about a tenth',
      remedy: `${KERNEL} (Linux 2.6.27)`,
    },
    device('TSO for IPv4', TunOffload.tso4, ['tso4'], 'TCP over IPv4 runs at about a tenth', '2.6.27'),
    device('TSO for IPv6', TunOffload.tso6, ['tso6'], 'TCP over IPv6 runs at about a tenth', '2.6.27'),
    device('USO', TunOffload.uso, ['uso4', 'uso6'], 'a quarter fewer small UDP packets', '6.2'),
    socketPath(
      'UDP_SEGMENT',
      udp.gso,
      'each datagram is a system call: small packets take 2.4 times the time, TCP more',
      '4.18',
    ),
    socketPath(
      'UDP_GRO',
      udp.gro,
      'datagrams are received one by one, which takes far more processor time',
      '5.0',
    ),
    {
      name: 'PACKET_VNET_HDR',
      there: !('error' in packetSocket) && packetSocket.vnetHeader > 0,
      verdict: undefined,
      found: 'error' in packetSocket ? packetSocket.error : 'the kernel has none',
      cost: 'bridges of interfaces carry TCP at a tenth',
      remedy: `${KERNEL} (Linux 2.6.27)`,
    },
  ];
  return paths.map(toFinding);
}

function socketPath(name: string, verdict: Verdict, cost: string, since: string): Path {
  const remedy = `${KERNEL} (Linux ${since})`;
  return { name, there: verdict !== 'absent', verdict, found: 'the kernel has none', cost, remedy };
}

function toFinding({ name, there, verdict, found, cost, remedy }: Path): Finding {
  const base = { group: GROUP, name };
  if (!there) return { ...base, mark: 'slow', found, cost, remedy };
  if (verdict === 'failed') {
    const what = 'there, but what arrives is not what was sent';
    return {
      ...base,
      mark: 'slow',
      found: what,
      cost: `it corrupts data, or is not used: ${cost}`,
      remedy: `${KERNEL}; until then --no-gso, --no-gro or --no-vnet-hdr`,
    };
  }
  if (verdict === 'absent') {
    return {
      ...base,
      mark: 'slow',
      found: 'there, but refuses good superframes (EINVAL)',
      cost,
      remedy: KERNEL,
    };
  }
  const tried = { passed: 'yes, tried', untested: 'yes, not tried: loopback does not answer' };
  return { ...base, mark: 'ok', found: verdict === undefined ? 'yes' : tried[verdict] };
}
