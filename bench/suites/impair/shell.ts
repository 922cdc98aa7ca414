/** A command behind an impaired link beside the plain path to the same host; and mahimahi's shells where they are installed. */
import { parseIperf } from '../../harness/iperf.ts';
import { type Lab, OUTER, withLab } from '../../harness/lab.ts';
import { parsePing } from '../../harness/ping.ts';
import { onCpu } from '../../harness/placement.ts';
import { unmetNeeds } from '../../harness/programs.ts';
import { COMMAND } from '../../harness/root.ts';
import type { Experiment, Sample, Visit } from '../../harness/rounds.ts';
import { SUITE } from './command.ts';

const PLAIN = 'plain path';
const PING_INTERVAL = 0.005;
const DELAY_NS = 20e6;

/** Puts a command behind a link. */
type Behind = (command: readonly string[]) => string[];

const ours =
  (...words: string[]): Behind =>
  (command) => [process.execPath, COMMAND, 'shell', ...words, '--', ...command];
/** What mahimahi does, too: packets pass. The bars are for this way; the other, which ends TCP, stands beside it. */
const KERNEL = ['--deliver', 'kernel'];
const SOCKETS = 'ours, over sockets';
const plain: Behind = (command) => [...command];
const mahimahi =
  (...words: string[]): Behind =>
  (command) => [...words, ...command];

export function shellExperiments(seconds: number): Experiment[] {
  return [
    roundTrips(seconds),
    throughput(seconds, {
      path: '8 TCP flows behind a shell with a delay of 10 ms',
      subject: 'ours, shell --delay 10ms --deliver kernel',
      behind: ours('--delay', '10ms', ...KERNEL),
      sockets: ours('--delay', '10ms'),
      peer: ['mahimahi, mm-delay', mahimahi('mm-delay', '10')],
    }),
    throughput(seconds, {
      path: '8 TCP flows behind a shell with a rate of 12 Gbit/s',
      subject: 'ours, shell --rate 12gbit --deliver kernel',
      behind: ours('--rate', '12gbit', ...KERNEL),
      sockets: ours('--rate', '12gbit'),
    }),
  ];
}

function visit(subject: string, measure: (lab: Lab) => Promise<Sample[]>, absent?: string): Visit {
  return { subject, absent, measure: (context) => withLab(context, measure) };
}

const withoutMahimahi = () => unmetNeeds(['mm-delay'])?.replace('install mm-delay', 'install mahimahi');

// ── Round trips.

/** By how much pings behind a delay take longer than it says, those of the plain path taken off. */
function roundTrips(seconds: number): Experiment {
  const path = 'ping behind a shell with a delay of 10 ms';
  const subject = 'ours, shell --delay 10ms --deliver kernel';
  const error = (behind: Behind) => async (lab: Lab) => {
    const beside = await median(lab, plain);
    const asked = beside + DELAY_NS;
    return [{ path, quantity: 'lateMedian' as const, value: (await median(lab, behind)) - asked }];
  };
  return {
    suite: SUITE,
    title: path,
    secondsPerVisit: 2 * seconds,
    visits: [
      visit(subject, error(ours('--delay', '10ms', ...KERNEL))),
      visit(SOCKETS, error(ours('--delay', '10ms'))),
      visit('mahimahi, mm-delay', error(mahimahi('mm-delay', '10')), withoutMahimahi()),
    ],
    bars: [{ path, quantity: 'lateMedian', subject, atMost: 150_000 }],
  };
}

async function median(lab: Lab, behind: Behind): Promise<number> {
  const count = Math.max(20, Math.round(lab.seconds / PING_INTERVAL));
  const argv = ['ping', '-n', '-i', `${PING_INTERVAL}`, '-c', `${count}`, '-W', '1', OUTER.b];
  const text = await lab.run(lab.a, lab.placement.client, behind(argv), (lab.seconds * 3 + 20) * 1000);
  return parsePing(text, count).median;
}

// ── Throughput.

interface Link {
  path: string;
  subject: string;
  behind: Behind;
  sockets: Behind;
  peer?: [subject: string, behind: Behind];
}

function throughput(seconds: number, { path, subject, behind, sockets, peer }: Link): Experiment {
  const through = (how: Behind) => (lab: Lab) => tcp(lab, path, how);
  const visits = [
    visit(PLAIN, through(plain)),
    visit(subject, through(behind)),
    visit(SOCKETS, through(sockets)),
  ];
  if (peer) visits.push(visit(peer[0], through(peer[1]), withoutMahimahi()));
  return {
    suite: SUITE,
    title: path,
    secondsPerVisit: seconds + 1,
    visits,
    bars: [{ path, quantity: 'throughput', subject, reference: PLAIN, atLeast: 0.3 }],
  };
}

/** A second, in which windows open and code is compiled, does not count. */
async function tcp(lab: Lab, path: string, behind: Behind): Promise<Sample[]> {
  const { client, server } = lab.placement;
  const listener = lab.spawn(lab.b, server, ['iperf3', '--server', '--one-off', '--forceflush']);
  try {
    await listener.waitFor('listening');
    const argv = ['iperf3', '--client', OUTER.b, '--time', `${Math.ceil(lab.seconds)}`, '--omit', '1'];
    // The command itself is not pinned: it has threads of its own, as whoever types it has.
    const command = behind(onCpu(client, [...argv, '--parallel', '8', '--json']));
    const { stdout, stderr } = await lab.a.exec(command, {
      timeout: (lab.seconds + 20) * 1000,
      signal: lab.signal,
    });
    return [{ path, quantity: 'throughput', value: parseIperf(stdout || stderr).bitsPerSecond }];
  } finally {
    await listener.stop();
  }
}
