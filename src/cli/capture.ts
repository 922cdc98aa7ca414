/** `tunconnector capture NAME [FILE]`: packets of a running network, or of any interface, as pcapng. */
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { Command } from 'commander';
import type { Layer } from '../engine/app.ts';
import { sink } from '../engine/basic.ts';
import { liveRuntime } from '../engine/live-runtime.ts';
import { Network } from '../engine/network.ts';
import { duration, MILLISECOND } from '../engine/units.ts';
import { TunconnectorError } from '../errors.ts';
import { LinkType } from '../packet/capture.ts';
import { CaptureReader } from '../packet/capture-reader.ts';
import { type CaptureSummary, captureLink } from '../tun/capture/capture.ts';
import { streamOutput, writeError } from '../tun/capture/live-file.ts';
import { connectControl, listNetworks } from '../tun/control/live-client.ts';
import type { ControlLink } from '../tun/control/live-server.ts';
import { packetSocket } from '../tun/packet-socket.ts';
import { runCommand } from '../tun/system/live-command.ts';
import { interfaceName } from '../tun/system/live-ip.ts';
import { Exit, usageError } from './exit.ts';

/** How long a network may take to complete a capture that was ended, ms. */
const END_LIMIT = 2_000;

interface Options {
  link?: string;
  perLink?: boolean;
  snaplen?: string;
  drops?: boolean;
  count?: string;
  duration?: string;
  json?: boolean;
  verbose?: boolean;
}

interface Wanted {
  name: string;
  link: string | undefined;
  /** One interface in the file for all links. */
  merge: boolean;
  snapLength: number | undefined;
  drops: boolean;
  count: number | undefined;
  verbose: boolean;
}

/** Settles when the capture is to end: Ctrl-C, the time is over, or the reader of standard output has left. */
interface Stop {
  readonly asked: Promise<void>;
  now(): void;
  done(): void;
}

/** What was captured. */
interface Result {
  packets: number;
  missed: number;
  /** By the kernel, before anybody saw them. */
  kernelDrops: number;
}

/** @param done receives the exit code when the command has ended */
export function captureCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  return new Command('tunconnector capture')
    .description('Writes the packets of a running network, or of any interface, as pcapng.')
    .argument('<name>', 'a running network (a tunnel is called like its interface), or an interface')
    .argument('[file]', 'where to; "-", or nothing before a pipe, is standard output')
    .option(
      '--link <pattern>',
      'only these links of a network: an app, app.output, "a.out -> *", all; several with commas',
    )
    .option(
      '--per-link',
      'an interface for each link on standard output too: for tshark, tcpdump reads only one',
    )
    .option('--snaplen <bytes>', 'keep the beginning of each packet only (default: 262144)')
    .option('--drops', 'also packets that apps of a network drop, with the reason as comment')
    .option('--count <packets>', 'end after so many')
    .option('--duration <time>', 'end after so long: 10s, 5m')
    .option('--json', 'at the end, what was captured as one JSON object on standard error')
    .option('--verbose', 'say on standard error what is captured')
    .addHelpText(
      'after',
      `
Examples:
  # every link as an interface, for Wireshark
  tunconnector capture tun0 tunnel.pcapng
  # the IP packets (or else the frames) as one interface
  tunconnector capture tun0 --drops | tcpdump -n -r -
  tunconnector capture tun0 --link "tun.*" --count 100 - | tshark -r -
  tunconnector capture eth0 --duration 10s eth0.pcapng`,
    )
    .action(async (name: string, file: string | undefined, options: Options) => {
      done(await capture(name, file, options));
    });
}

async function capture(name: string, file: string | undefined, options: Options): Promise<number> {
  const toStdout = file === undefined || file === '-';
  const wanted: Wanted = {
    name,
    link: options.link,
    merge: toStdout && !options.perLink,
    snapLength: wholeNumber('--snaplen', options.snaplen, 1 << 20),
    drops: options.drops ?? false,
    count: wholeNumber('--count', options.count, Number.MAX_SAFE_INTEGER),
    verbose: options.verbose ?? false,
  };
  const length = options.duration === undefined ? undefined : duration(options.duration) / MILLISECOND;
  if (toStdout && process.stdout.isTTY) {
    throw usageError(
      'standard output is a terminal',
      `name a file, or: tunconnector capture ${name} | tcpdump -n -r -`,
    );
  }
  const running = (await listNetworks()).map((each) => each.name);
  const isNetwork = running.includes(name);
  const frameType = isNetwork ? undefined : await frameTypeOf(name, running);
  const forNetworks = wanted.drops
    ? '--drops'
    : wanted.link !== undefined
      ? '--link'
      : options.perLink
        ? '--per-link'
        : '';
  if (!isNetwork && forNetworks)
    throw usageError(`${forNetworks} is for networks, and "${name}" is an interface`);
  // Made when there is something to write: what is there already outlives a capture that cannot begin.
  const openOutput = async () => (toStdout ? process.stdout : createFile(file));
  const stop = stopper(length);
  try {
    const result = isNetwork
      ? await captureNetwork(wanted, openOutput, file ?? '-', stop)
      : await captureInterface(wanted, frameType!, openOutput, file ?? '-', stop);
    const time = new Date().toISOString();
    process.stderr.write(
      options.json
        ? `${JSON.stringify({ time, event: 'report', name, ...result })}\n`
        : `tunconnector: ${summaryLine(result)}\n`,
    );
    return Exit.ok;
  } finally {
    stop.done();
  }
}

// ── A network in another process, through its control socket.

async function captureNetwork(
  wanted: Wanted,
  openOutput: () => Promise<Writable>,
  file: string,
  stop: Stop,
): Promise<Result> {
  await using client = await connectControl(wanted.name);
  if (wanted.verbose) {
    const links = (await client.links()).map(({ name, layer }) => `${name} (${layer})`);
    process.stderr.write(`tunconnector: "${wanted.name}" is a running network with ${links.join(', ')}\n`);
  }
  const { bytes, end } = await client.capture({
    links: wanted.link ?? 'all',
    layer: wanted.merge && wanted.link === undefined ? mainLayer(await client.links()) : undefined,
    merge: wanted.merge ? wanted.name : undefined,
    snaplen: wanted.snapLength,
    drops: wanted.drops,
    count: wanted.count,
  });
  const stream = await openOutput();
  let limit: NodeJS.Timeout | undefined;
  void stop.asked.then(() => {
    end();
    limit = setTimeout(() => void client.close(), END_LIMIT);
  });
  const reader = new CaptureReader({ truncated: true });
  let packets = 0;
  try {
    for await (const chunk of bytes) {
      packets += reader.push(chunk).length;
      if (!(await writeTo(stream, chunk, file))) break; // the reader of the pipe has left
    }
    await endOf(stream, file);
  } finally {
    clearTimeout(limit);
  }
  const missed = reader.interfaces.reduce((sum, each) => sum + (each.dropped ?? 0), 0);
  return { packets, missed, kernelDrops: 0 };
}

/** IP packets where there are any, or else frames, or else the payloads of the tunnel. */
function mainLayer(links: readonly ControlLink[]): Layer | undefined {
  return (['L3', 'L2', 'datagram'] as const).find((layer) => links.some((each) => each.layer === layer));
}

// ── An interface of this machine.

async function captureInterface(
  wanted: Wanted,
  frameType: number,
  openOutput: () => Promise<Writable>,
  file: string,
  stop: Stop,
): Promise<Result> {
  const network = new Network(liveRuntime(), { memory: 64 << 20 })
    .app('interface', packetSocket({ interface: wanted.name, outgoing: true }))
    .app('end', sink({}))
    .link('interface.out -> end.in');
  let failure: unknown;
  const fail = (error: unknown) => {
    failure ??= error;
    stop.now();
  };
  network.on('error', fail);
  network.on('event', (_app, event) => {
    if (event.type !== 'port-failed') return;
    fail(new TunconnectorError('ERR_INTERFACE', `the interface "${wanted.name}" went down or was removed`));
  });
  try {
    // Committed and not started: nothing flows before the capture looks.
    await network.commit().catch((error: unknown) => {
      throw explained(error, wanted.name);
    });
    const stream = await openOutput();
    const output = streamOutput(stream, {
      name: file,
      keepOpen: stream === process.stdout,
      onLeave: stop.now,
    });
    if (wanted.verbose) process.stderr.write(`tunconnector: "${wanted.name}" is an interface\n`);
    const capturing = captureLink(network, 'interface.out', output, {
      snapLength: wanted.snapLength,
      count: wanted.count,
      frameType,
      merge: wanted.name,
      onEnd: stop.now,
    });
    await network.start();
    await stop.asked;
    const summary: CaptureSummary = await capturing.stop();
    const report = network.report().apps.find(({ app }) => app === 'interface')!.report;
    if (summary.error) throw summary.error;
    if (failure !== undefined) throw failure;
    return { packets: summary.packets, missed: summary.missed, kernelDrops: Number(report.kernelDrops ?? 0) };
  } finally {
    await network.close();
  }
}

/** Who captures needs less than who makes interfaces, and has no `--rootless`. */
function explained(error: unknown, name: string): unknown {
  if (!(error instanceof TunconnectorError) || error.code !== 'ERR_PERMISSION') return error;
  const { errno, syscall } = error;
  const remedy = 'run it as root, or give it CAP_NET_RAW';
  const message = `capturing "${name}" is not permitted (${errno}, ${syscall})`;
  return new TunconnectorError('ERR_PERMISSION', message, { errno, syscall, remedy, cause: error });
}

/** What a packet socket gives of this interface, as a link type. Throws when there is no such interface. */
async function frameTypeOf(name: string, running: readonly string[]): Promise<number> {
  const { code, stdout } = await runCommand(['ip', '-j', 'link', 'show', 'dev', interfaceName(name)]);
  if (code !== 0) {
    const networks =
      running.length > 0 ? `running networks are ${running.join(', ')}` : 'no network is running';
    throw new TunconnectorError('ERR_INTERFACE', `"${name}" is neither a running network nor an interface`, {
      remedy: `${networks}, and "ip link" lists the interfaces`,
    });
  }
  const [{ link_type: type }] = JSON.parse(stdout) as [{ link_type: string }];
  if (type === 'ether' || type === 'loopback') return LinkType.Ethernet;
  if (type === 'none') return LinkType.Raw; // a TUN
  throw new TunconnectorError('ERR_INTERFACE', `the interface "${name}" is of type ${type}`, {
    remedy: 'capture Ethernet, loopback or TUN interfaces',
  });
}

// ── Output.

async function createFile(file: string): Promise<Writable> {
  try {
    return (await open(file, 'w', 0o600)).createWriteStream();
  } catch (error) {
    throw writeError(file, error);
  }
}

/** Writes and waits for room. False when the reader of a pipe has left, which is its right. */
async function writeTo(stream: Writable, chunk: Uint8Array, file: string): Promise<boolean> {
  return orReaderLeft(file, async () => {
    const written = new Promise<void>((resolve, reject) => {
      stream.once('error', reject);
      stream.write(chunk, (error) => {
        stream.removeListener('error', reject);
        // The event follows; unheard it would end the process.
        if (error) stream.once('error', () => {});
        if (error) reject(error);
        else resolve();
      });
    });
    await written;
  });
}

async function endOf(stream: Writable, file: string): Promise<void> {
  if (stream === process.stdout || !stream.writable) return;
  await orReaderLeft(file, async () => {
    stream.end();
    await once(stream, 'close');
  });
}

async function orReaderLeft(file: string, work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return false;
    throw writeError(file, error);
  }
}

function summaryLine({ packets, missed, kernelDrops }: Result): string {
  const parts = [`${packets} ${packets === 1 ? 'packet' : 'packets'} captured`];
  if (missed > 0) parts.push(`${missed} missed because the output was too slow`);
  if (kernelDrops > 0) parts.push(`${kernelDrops} dropped by the kernel`);
  return parts.join(', ');
}

// ── When it ends.

/** @param length ms, or undefined for no end */
function stopper(length: number | undefined): Stop {
  let now = () => {};
  const asked = new Promise<void>((resolve) => (now = resolve));
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  // Who asks twice means at once.
  for (const signal of signals) process.once(signal, now);
  // Longer than a timer can be is as good as for ever.
  const timer = length !== undefined && length < 2 ** 31 ? setTimeout(now, length) : undefined;
  const done = () => {
    clearTimeout(timer);
    for (const signal of signals) process.removeListener(signal, now);
  };
  return { asked, now, done };
}

function wholeNumber(option: string, text: string | undefined, most: number): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= 1 && number <= most) return number;
  throw usageError(`${option}: found "${text}", expected a whole number of at least 1`);
}
