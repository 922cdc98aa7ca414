/**
 * A stub resolver: asks the servers it is told of, one after the other, over UDP, each time from another port with
 * another number (RFC 5452), and over TCP whoever has a longer answer (RFC 7766). It keeps nothing, and reads no file of hosts.
 */
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { parseEndpoint } from '../../packet/prefix.ts';
import type { SecretNumbers } from '../numbers.ts';
import type { Connection, TcpHandlers } from '../tcp/connection.ts';
import type { ConnectOptions } from '../tcp/tcp.ts';
import type { UdpOptions, UdpSocket } from '../udp/socket.ts';
import { TcpQuestion } from './over-tcp.ts';
import { type Answer, decodeAnswer, encodeQuery, nameProblem, type RecordType } from './query.ts';

const PORT = 53;
const MOST_QUERIES = 256;

export interface ResolveOptions {
  /** Only addresses of this family. Default: both. */
  family?: 4 | 6;
  /** Name servers, `10.0.0.1` or `10.0.0.1:5353`. Default: the stack's. */
  servers?: readonly string[];
  /** How long the first round waits for each server, doubled with every round: ns. Default 2 s. */
  timeout?: number;
  /** Rounds through the servers. Default 3. */
  rounds?: number;
}

export interface ResolverParts {
  runtime: Runtime;
  numbers: SecretNumbers;
  open(options: UdpOptions): UdpSocket;
  connect(options: ConnectOptions, handlers: TcpHandlers): Connection;
}

export class Resolver {
  readonly #parts: ResolverParts;
  readonly #queries = new Set<Query>();

  constructor(parts: ResolverParts) {
    this.#parts = parts;
  }

  /** Addresses of one type, as text; none when the name has none. @throws ERR_RESOLVE, ERR_LIMIT */
  ask(name: string, type: RecordType, options: ResolveOptions): Promise<string[]> {
    const problem = nameProblem(name);
    if (problem)
      return Promise.reject(new TunconnectorError('ERR_RESOLVE', `"${name}" is no name: ${problem}`));
    const servers = (options.servers ?? []).map(serverOf);
    if (servers.length === 0)
      return Promise.reject(
        new TunconnectorError('ERR_RESOLVE', `nobody can be asked for "${name}"`, {
          remedy: 'tell the stack its nameservers',
        }),
      );
    if (this.#queries.size >= MOST_QUERIES)
      return Promise.reject(new TunconnectorError('ERR_LIMIT', `${MOST_QUERIES} names are being asked for`));
    return new Promise((resolve, reject) => {
      const query = new Query(this.#parts, name, type, servers, options, (result) => {
        this.#queries.delete(query);
        if (Array.isArray(result)) resolve(result);
        else reject(result);
      });
      this.#queries.add(query);
      query.next();
    });
  }

  close(): void {
    for (const query of [...this.#queries]) query.fail('ECANCELLED', 'the stack is closed');
  }
}

/** One name and type: try after try, until somebody answers or nobody is left. */
class Query {
  readonly #parts: ResolverParts;
  readonly #name: string;
  readonly #type: RecordType;
  readonly #servers: readonly string[];
  readonly #timeout: number;
  readonly #rounds: number;
  readonly #done: (result: string[] | TunconnectorError) => void;
  #try = 0;
  #socket: UdpSocket | undefined;
  #overTcp: TcpQuestion | undefined;
  #cancel: (() => void) | undefined;
  #last = 'nobody answered';
  #errno = 'ETIMEOUT';

  constructor(
    parts: ResolverParts,
    name: string,
    type: RecordType,
    servers: readonly string[],
    options: ResolveOptions,
    done: (result: string[] | TunconnectorError) => void,
  ) {
    this.#parts = parts;
    this.#name = name;
    this.#type = type;
    this.#servers = servers;
    this.#timeout = options.timeout ?? 2 * SECOND;
    this.#rounds = options.rounds ?? 3;
    this.#done = done;
  }

  next(): void {
    this.#end();
    const round = Math.floor(this.#try / this.#servers.length);
    if (round >= this.#rounds) {
      this.fail(this.#errno, this.#last);
      return;
    }
    const { numbers, open } = this.#parts;
    const remote = this.#servers[this.#try++ % this.#servers.length];
    const id = numbers.u16();
    try {
      this.#socket = open({
        remote,
        onMessage: (bytes) => {
          const answer = decodeAnswer(bytes, id, this.#name, this.#type);
          if (answer?.kind === 'truncated') this.#askOverTcp(remote, round);
          else if (answer) this.#answer(answer);
        },
        onError: (error) => {
          this.#last = error.message;
          // Not within the callback of the socket that is closed by it.
          this.#wait(0);
        },
      });
    } catch (error) {
      this.fail('ECANCELLED', (error as Error).message);
      return;
    }
    const sent = this.#socket.send(encodeQuery(id, this.#name, this.#type));
    if (!sent) this.#last = `no route leads to ${remote}`;
    this.#wait(sent ? this.#timeout * 2 ** round : 0);
  }

  /** The same server, which has more to say than a datagram holds. */
  #askOverTcp(server: string, round: number): void {
    this.#end();
    const { numbers, connect } = this.#parts;
    const { address, port } = parseEndpoint(server);
    const id = numbers.u16();
    const note = (why: string) => {
      this.#errno = 'EBADRESP';
      this.#last = `the answer is longer than a datagram, and over TCP there is none: ${why}`;
    };
    note('the server is silent');
    const fail = (why: string) => {
      note(why);
      // Not within the callback of what is closed by it.
      this.#wait(0);
    };
    try {
      this.#overTcp = new TcpQuestion(connect, { address, port }, encodeQuery(id, this.#name, this.#type), {
        onAnswer: (bytes) => {
          const answer = decodeAnswer(bytes, id, this.#name, this.#type);
          if (!answer) fail('it answers something else');
          else if (answer.kind === 'truncated') fail('that is cut, too');
          else this.#answer(answer);
        },
        onFailed: fail,
      });
    } catch (error) {
      fail((error as Error).message);
      return;
    }
    this.#wait(this.#timeout * 2 ** round);
  }

  #wait(span: number): void {
    this.#cancel?.();
    const { runtime } = this.#parts;
    this.#cancel = runtime.timer(runtime.now() + span, () => this.next());
  }

  #answer(answer: Answer): void {
    if (answer.kind === 'addresses') this.#finish(answer.addresses);
    else if (answer.kind === 'no-name') this.fail('ENOTFOUND', 'there is no such name');
    else if (answer.kind === 'failed') {
      this.#errno = 'ESERVFAIL';
      this.#last = `the server says ${answer.why}`;
      this.#wait(0);
    }
  }

  fail(errno: string, why: string): void {
    const text = `"${this.#name}" does not resolve (${this.#type}): ${why}`;
    this.#finish(new TunconnectorError('ERR_RESOLVE', text, { errno }));
  }

  #finish(result: string[] | TunconnectorError): void {
    this.#end();
    this.#done(result);
  }

  #end(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#socket?.close();
    this.#socket = undefined;
    this.#overTcp?.close();
    this.#overTcp = undefined;
  }
}

const serverOf = (text: string): string => {
  if (/^\[.*\]:\d+$/.test(text) || /^[\d.]+:\d+$/.test(text)) return text;
  return text.includes(':') ? `[${text}]:${PORT}` : `${text}:${PORT}`;
};
