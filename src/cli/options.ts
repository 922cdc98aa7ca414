/**
 * The options of the tunnel command, once: the command line, the configuration file, the completion scripts and the
 * checks of the manual are made from this table. Each option turns its text into a value or says what it expected.
 */
import type { Thread } from '../engine/live-hosted.ts';
import { duration, MILLISECOND } from '../engine/units.ts';
import { TunconnectorError } from '../errors.ts';
import { formatIp, isIp, parseIp } from '../packet/address.ts';
import { formatPrefix, parsePrefix } from '../packet/prefix.ts';
import { interfaceAddress } from '../tunnel/connector/options.ts';
import { Expected, reading } from './expected.ts';
import { impairment, impairmentOf } from './impairment.ts';

export type Format = 'udp' | 'raw' | 'stream';
export type Mode = 'client' | 'server' | 'both';

/** What a shell offers as the value. */
export type Completion = 'file' | 'interface' | 'user' | readonly string[];

export interface OptionSpec {
  short?: string;
  /** Placeholder of the value; an option without one is a switch. */
  value?: string;
  /** May be given several times, and as a list with commas. */
  list?: true;
  help: string;
  /** The value when it is not given, for the help. */
  default?: string;
  complete?: Completion;
  /** The end it is about. With the other one alone it would have no effect, and is refused. */
  side?: 'client' | 'server';
  /** The formats it has an effect with; all when left out. */
  formats?: readonly Format[];
  /** Means nothing in a file. */
  commandLineOnly?: true;
  /** Throws `Expected` or `Wrong`, or an error that says it better. */
  parse(text: string): unknown;
  /** What a file may have instead of text: a list or an object, to the same end. */
  parseObject?(value: object): unknown;
}

const expected = (what: string) => new Expected(what);

function port(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw expected('a port, 1 to 65535');
}

/** Old documents give the remote address here. */
function portNotHost(text: string): number {
  const looksLikeHost = isIp(text) || /^[a-z0-9-]*[a-z][a-z0-9-]*(\.[a-z0-9-]+)+$/i.test(text);
  if (looksLikeHost) throw expected(`a port; did you mean -r ${text}?`);
  return port(text);
}

function interfaceName(text: string): string {
  if (text === '') throw expected('an interface name');
  if (Buffer.byteLength(text) > 15) throw expected('an interface name of at most 15 bytes');
  if (!/^[^\s/:%"'#\\-][^\s/:"'#\\]*$/.test(text) || text === '.' || text === '..') {
    throw expected('an interface name without spaces, quotes, "/" and ":"');
  }
  return text;
}

/** Keeps what the parsers of addresses say, without their first words, which name what was found. */
function address<T>(what: string, work: (text: string) => T) {
  return (text: string): T => {
    try {
      return work(text);
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      const why = /^".*?" is not .*?: (.*)$/.exec(error.message)?.[1];
      throw expected(why ? `${what} (${why})` : what);
    }
  };
}

const prefix = address('a network like 10.0.0.0/8', (text) =>
  formatPrefix(parsePrefix(text, { length: 'host' })),
);

function integer(text: string, from: number, to: number): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= from && Number(text) <= to) return Number(text);
  throw expected(`a whole number, ${from} to ${to}`);
}

function choice<T extends string>(...words: readonly T[]) {
  return (text: string): T => {
    const word = words.find((each) => each === text);
    if (word === undefined) throw expected(`${words.slice(0, -1).join(', ')} or ${words.at(-1)}`);
    return word;
  };
}

function keepalive(text: string): number {
  let milliseconds = 0;
  try {
    milliseconds = duration(text) / MILLISECOND;
  } catch {
    throw expected('a time like 1s or 500ms');
  }
  if (milliseconds < 100 || milliseconds > 30_000) throw expected('a time from 100ms to 30s');
  return Math.round(milliseconds);
}

function seconds(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value >= 0.1 && value <= 86_400) return value;
  throw expected('seconds, 0.1 to 86400');
}

function route(text: string): { prefix: string; interface: string | undefined } {
  const [network, name, more] = text.split('@');
  if (more !== undefined) throw expected('a network, or a network and an interface like 10.0.0.0/8@tun1');
  const through = name === undefined ? undefined : interfaceName(name);
  return { prefix: network === 'default' ? network : prefix(network!), interface: through };
}

const anything = (what: string) => (text: string) => {
  if (text === '' || /\s/.test(text)) throw expected(what);
  return text;
};
const on = () => true as const;

export const OPTIONS = {
  mode: {
    short: 'm',
    value: 'MODE',
    help: 'client, server, or both ends in one process',
    default: 'both',
    complete: ['client', 'server', 'both'],
    parse: choice<Mode>('client', 'server', 'both'),
  },
  serverinterface: {
    short: 'p',
    value: 'NAME',
    help: "the server's interface, which is made",
    default: 'tun1',
    complete: 'interface',
    side: 'server',
    parse: interfaceName,
  },
  clientinterface: {
    short: 'n',
    value: 'NAME',
    help: "the client's interface, which is made",
    default: 'tun0',
    complete: 'interface',
    side: 'client',
    parse: interfaceName,
  },
  serverip: {
    short: 's',
    value: 'ADDRESS',
    list: true,
    help: "the server's addresses inside the tunnel, /24 (IPv6: /64) unless they say otherwise",
    default: '192.168.1.2',
    side: 'server',
    parse: address('an address like 10.0.0.2 or fd00::2/64', interfaceAddress),
  },
  clientip: {
    short: 'c',
    value: 'ADDRESS',
    list: true,
    help: "the client's addresses inside the tunnel, likewise",
    default: '192.168.0.2',
    side: 'client',
    parse: address('an address like 10.0.0.3 or fd00::3/64', interfaceAddress),
  },
  inport: {
    short: 'i',
    value: 'PORT',
    help: 'the port the server listens on',
    default: '55556',
    side: 'server',
    parse: portNotHost,
  },
  outport: {
    short: 'o',
    value: 'PORT',
    help: "the server's port, for the client",
    default: '55555',
    side: 'client',
    parse: portNotHost,
  },
  remoteip: {
    short: 'r',
    value: 'HOST',
    help: "the server's address or host name, for the client",
    side: 'client',
    parse(text: string): string {
      const host = /^\[(.*)\]$/.exec(text)?.[1] ?? text;
      if (isIp(host)) return formatIp(parseIp(host));
      const withPort = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
      if (withPort) {
        throw expected(`a host alone; did you mean -r ${withPort[1] ?? withPort[2]} -o ${withPort[3]}?`);
      }
      if (/^[\d.]+$/.test(host) || !/^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?$/i.test(host)) {
        throw expected('an address or a host name');
      }
      return host;
    },
  },
  format: {
    value: 'FORMAT',
    help: 'what is on the wire: udp (sessions, several clients), raw (bare packets in UDP), stream (TCP)',
    default: 'udp',
    complete: ['udp', 'raw', 'stream'],
    parse: choice<Format>('udp', 'raw', 'stream'),
  },
  tap: {
    help: 'Ethernet frames instead of IP packets: a TAP, and the server is a learning switch',
    parse: on,
  },
  mtu: {
    value: 'BYTES',
    help: 'MTU of the interface; found out and followed when not given',
    parse: (text: string) => integer(text, 68, 65_535),
  },
  keepalive: {
    value: 'TIME',
    help: 'how often the client says that it is there; after three silent intervals either end counts as silent',
    default: '1s',
    side: 'client',
    formats: ['udp'],
    parse: keepalive,
  },
  impair: {
    value: 'SPEC',
    help:
      'what packets pass between interface and tunnel, each way: "delay 50ms loss 1%", or a spec in braces, ' +
      'or @FILE (YAML, JSON)',
    parse: impairment,
    parseObject: impairmentOf,
  },
  'no-gso': { help: 'one datagram per system call when sending', formats: ['udp', 'raw'], parse: on },
  'no-gro': { help: 'one datagram at a time when receiving', formats: ['udp', 'raw'], parse: on },
  'no-vnet-hdr': { help: 'no superframes and no checksum offload between kernel and interface', parse: on },
  thread: {
    value: 'THREAD',
    help: 'where packets are moved: worker, a thread for each end, or main, the one that does everything else',
    default: 'worker',
    complete: ['worker', 'main'],
    parse: choice<Thread>('worker', 'main'),
  },
  route: {
    value: 'PREFIX',
    list: true,
    help:
      'a network to reach through the tunnel, or "default" for everything; on a server a network behind clients. ' +
      "In mode both it is the client's; PREFIX@tun1 names the server's interface",
    complete: ['default'],
    parse: route,
  },
  announce: {
    value: 'PREFIX',
    list: true,
    help: 'a network behind this client, which the server shall reach through it (the server needs its --route)',
    side: 'client',
    formats: ['udp'],
    parse: prefix,
  },
  forward: {
    help: 'turn IP forwarding on while the tunnel is there (--nat, --announce and both do)',
    parse: on,
  },
  nat: {
    help: "let clients out through this host's other interfaces, under its address",
    side: 'server',
    parse: on,
  },
  listen: {
    value: 'ADDRESS',
    help: 'the one outer address the server listens on; all of them when not given',
    side: 'server',
    parse: address('an address of this host', (text) => formatIp(parseIp(text))),
  },
  allow: {
    value: 'PREFIX',
    list: true,
    help: 'outer networks that clients may come from; anywhere when not given',
    side: 'server',
    formats: ['udp'],
    parse: prefix,
  },
  'max-clients': {
    value: 'N',
    help: 'how many clients the server takes at a time',
    default: '256',
    side: 'server',
    formats: ['udp'],
    parse: (text: string) => integer(text, 1, 2048),
  },
  config: {
    value: 'FILE',
    help: 'YAML or JSON with these long names as keys; the command line wins over it',
    complete: 'file',
    commandLineOnly: true,
    parse: (text: string) => text,
  },
  stats: {
    value: 'SECONDS',
    help: 'show rates this often: one line that is refreshed on a terminal, plain lines elsewhere',
    parse: seconds,
  },
  json: { help: 'one JSON object per line for every event, statistic and the report', parse: on },
  pcap: {
    value: 'FILE',
    help: 'write what passes through the interface into a pcapng file; in mode both FILE-tun1 and FILE-tun0',
    complete: 'file',
    parse: (text: string) => text,
  },
  snaplen: {
    value: 'BYTES',
    help: 'with --pcap, keep the beginning of each packet only',
    parse: (text: string) => integer(text, 1, 1 << 20),
  },
  user: {
    value: 'NAME',
    help: 'become this user when everything is set up',
    complete: 'user',
    parse: anything('the name of a user'),
  },
  rootless: {
    help: "without root: the tunnel's interface lives in a user and network namespace of its own",
    formats: ['udp', 'raw'],
    parse: on,
  },
  verbose: { help: 'say more about what happens, on standard error', parse: on },
} as const satisfies Record<string, OptionSpec>;

export type OptionName = keyof typeof OPTIONS;
type Value<K extends OptionName> = ReturnType<(typeof OPTIONS)[K]['parse']>;

/** The options that were given, parsed. */
export type Settings = {
  [K in OptionName]?: (typeof OPTIONS)[K] extends { list: true } ? Value<K>[] : Value<K>;
};

export const OPTION_NAMES = Object.keys(OPTIONS) as OptionName[];
export const specOf = (name: OptionName): OptionSpec => OPTIONS[name];

/** `-i/--inport`, as messages call it. */
export function flagsOf(name: OptionName): string {
  const { short } = specOf(name);
  return short ? `-${short}/--${name}` : `--${name}`;
}

/** Parses the texts of one option. `label` is what the message calls it: `-i/--inport`, or a path in a file. */
export function parseOption(name: OptionName, texts: readonly string[], label: string): unknown {
  const spec = specOf(name);
  const parts = spec.list ? texts.flatMap((text) => text.split(',').map((each) => each.trim())) : texts;
  const values = parts.map((text) => reading(label, text, () => spec.parse(text)));
  return spec.list ? values : values.at(-1);
}
