/**
 * Captures of a running network: what is put on its links, as pcapng with an interface for every link.
 *
 *   1. a link calls its witness with each packet that is put on it (superframes whole);
 *   2. the bytes are copied into the writer's buffer, with the time;
 *   3. a full buffer, or what has gathered in 100 ms, goes to the output;
 *   4. while the output has more waiting than the limit, packets are missed and counted. A capture never holds up
 *      what it looks at.
 */
import type { Layer } from '../../engine/app.ts';
import { configError } from '../../engine/config.ts';
import type { Link } from '../../engine/link.ts';
import type { Network } from '../../engine/network.ts';
import { reasonName } from '../../engine/reasons.ts';
import { MILLISECOND } from '../../engine/units.ts';
import type { TunconnectorError } from '../../errors.ts';
import { LinkType, SNAP_LENGTH } from '../../packet/capture.ts';
import { PcapngWriter } from '../../packet/pcapng.ts';
import { type LinkSelector, linkMatcher } from './select.ts';
import { addWitness } from './witness.ts';

/** Where a capture's bytes go. */
export interface CaptureOutput {
  /** Bytes that it has taken and not written. */
  readonly pending: number;
  /** Set by the capture; the output calls it once, when it cannot go on. */
  onFailure: ((error: TunconnectorError) => void) | undefined;
  /** Takes a chunk, which is its own until it calls `release`; for ever if it does not. */
  write(chunk: Uint8Array, release: () => void): void;
  /** Nothing follows. Settles when everything is written, or cannot be. */
  end(): Promise<void>;
}

export interface CaptureOptions {
  /** Bytes kept of each packet (default 262144). */
  snapLength?: number;
  /** Also packets that apps drop, on the interface `drops`, with the comment `dropped: reason (app)`. */
  drops?: boolean;
  /** Only links and drops that are this. libpcap (tcpdump) reads no file with several link types; Wireshark does. */
  layer?: Layer;
  /** Ends by itself after so many packets. */
  count?: number;
  /** Bytes that may wait in the output (default 4 MiB). */
  limit?: number;
  /** What frames of L2 links begin with, where it is not Ethernet (a `LinkType`). */
  frameType?: number;
  /**
   * One interface of this name for all links and drops, instead of one for each. libpcap 1.10 reads no file with two
   * interfaces of raw IP: it compares the number of the second in the file with its own number for the first.
   */
  merge?: string;
  /** Called once, when it has ended, whatever ended it. */
  onEnd?: (summary: CaptureSummary) => void;
}

export interface CaptureSummary {
  /** Packets written; a superframe is one. */
  packets: number;
  /** Packets that found the output too slow. */
  missed: number;
  /** ERR_CAPTURE, when the output failed. */
  error: TunconnectorError | undefined;
}

const PENDING_LIMIT = 4 << 20;
/** What gathers before it goes to the output. */
const CHUNK = 64 << 10;
const TICK = 100 * MILLISECOND;
/** An outer datagram's payload has no link type of its own: the first of those for private use. */
const USER0 = 147;
/** Values of the pool's `layer` column, as indices. */
const LAYERS = 4;
const LAYER_NUMBER: Record<Layer, number> = { datagram: 0, L2: 2, L3: 3 };
const DESCRIPTIONS: Record<number, string> = { 0: 'UDP payloads', 2: 'frames', 3: 'IP packets' };

/** A source of packets in the file: a link, or the drops. One interface for each layer it was seen to carry. */
interface Source {
  name: string;
  /** Interface numbers by layer; -1 for none. */
  interfaces: Int32Array;
  missed: Float64Array;
  detach: () => void;
}

/** Memory that goes to the output and comes back. */
class Chunk {
  readonly bytes = new Uint8Array(CHUNK);
  readonly release: () => void;

  constructor(free: Chunk[]) {
    this.release = () => void free.push(this);
  }
}

/** A link under the name that captures give it. */
export interface NamedLink {
  name: string;
  link: Link;
  layer: Layer | undefined;
}

/**
 * The links of a network as they were written: one with an inserted cutting app is the part in front of it, where
 * superframes are whole. The part behind can be had under its own name, `cut:...`.
 */
function capturableLinks(network: Network): NamedLink[] {
  const links = network.links();
  const behind = new Map(links.map(({ link }) => link.name.split(' -> ') as [string, string]));
  return links.map(({ link, layer }) => {
    const [from, to] = link.name.split(' -> ') as [string, string];
    const next = to.startsWith('cut:') ? behind.get(to.replace(/\.in$/, '.out')) : undefined;
    return { name: next ? `${from} -> ${next}` : link.name, link, layer };
  });
}

/** Without what stands behind inserted cutting apps: the links as people know them. */
export function writtenLinks(network: Network): NamedLink[] {
  return capturableLinks(network).filter(({ name }) => !name.startsWith('cut:'));
}

export class LinkCapture {
  readonly #network: Network;
  readonly #output: CaptureOutput;
  readonly #writer: PcapngWriter;
  readonly #matches: (link: string) => boolean;
  readonly #options: CaptureOptions;
  readonly #limit: number;
  readonly #left: number;
  readonly #sources = new Map<Link, Source>();
  #drops: Source | undefined;
  /** What all sources share when they are merged. */
  readonly #merged = { interfaces: new Int32Array(LAYERS).fill(-1), missed: new Float64Array(LAYERS) };
  readonly #comments = new Map<number, string>();
  /** Chunks that the output has given back. Without them every second of a busy capture is 50 MB of garbage. */
  readonly #chunks: Chunk[] = [];
  #cancelTick: () => void = () => {};
  #packets = 0;
  #missed = 0;
  #error: TunconnectorError | undefined;
  #ending: Promise<CaptureSummary> | undefined;

  /** Use `captureLink`. */
  constructor(network: Network, links: LinkSelector, output: CaptureOutput, options: CaptureOptions) {
    this.#network = network;
    this.#output = output;
    this.#options = options;
    this.#matches = linkMatcher(links);
    this.#limit = options.limit ?? PENDING_LIMIT;
    this.#left = options.count ?? Number.POSITIVE_INFINITY;
    const wanted = this.#wantedLinks();
    if (wanted.length === 0 && !options.drops) throw this.#nothingFound(links);
    this.#writer = new PcapngWriter({
      sink: (bytes) => this.#handOver(bytes),
      bufferSize: CHUNK,
      epochNs: network.runtime.startOfTime,
      snapLength: options.snapLength ?? SNAP_LENGTH,
      application: 'tunconnector',
    });
    output.onFailure = (error) => {
      this.#error ??= error;
      void this.stop();
    };
    for (const each of wanted) this.#watchLink(each);
    if (options.drops) this.#watchDrops();
    this.#writer.flush();
    this.#tick();
  }

  /** Links that are captured, by name. */
  get links(): string[] {
    return [...this.#sources.values()].map(({ name }) => name);
  }

  get summary(): CaptureSummary {
    return { packets: this.#packets, missed: this.#missed, error: this.#error };
  }

  /** Hands what has gathered to the output. Happens by itself ten times a second. */
  flush(): void {
    if (!this.#ending) this.#writer.flush();
  }

  /** Ends the capture and completes the file. May be called any number of times; never rejects. */
  stop(): Promise<CaptureSummary> {
    // From here on nothing is written; the rest waits until whoever called, a link perhaps, is done.
    this.#ending ??= Promise.resolve().then(() => this.#stop());
    return this.#ending;
  }

  async #stop(): Promise<CaptureSummary> {
    this.#cancelTick();
    for (const source of this.#sources.values()) source.detach();
    this.#drops?.detach();
    if (!this.#error) {
      for (const source of [...this.#sources.values(), ...(this.#drops ? [this.#drops] : [])])
        this.#noteMissed(source);
      this.#writer.end();
    }
    await this.#output.end();
    const { summary } = this;
    this.#options.onEnd?.(summary);
    return summary;
  }

  #handOver(bytes: Uint8Array): void {
    // Little that gathered in a tick, or a packet that alone is longer than a chunk.
    if (bytes.length < CHUNK / 2 || bytes.length > CHUNK) {
      this.#output.write(bytes.slice(), () => {});
      return;
    }
    const chunk = this.#chunks.pop() ?? new Chunk(this.#chunks);
    chunk.bytes.set(bytes);
    this.#output.write(chunk.bytes.subarray(0, bytes.length), chunk.release);
  }

  #wantedLinks(): NamedLink[] {
    const { layer: only } = this.#options;
    return capturableLinks(this.#network).filter(
      ({ name, layer }) => this.#matches(name) && (!only || !layer || layer === only),
    );
  }

  #nothingFound(links: LinkSelector): Error {
    const names = writtenLinks(this.#network).map(({ name }) => `"${name}"`);
    const only = this.#options.layer ? ` that carries ${this.#options.layer}` : '';
    return configError(
      `links: no link${only} matches "${links}"`,
      names.length > 0 ? `choose from ${names.join(', ')}` : 'start the network first',
    );
  }

  #watchLink({ link, name, layer }: NamedLink): void {
    const source = this.#newSource(name);
    let linkName = link.name;
    if (layer) this.#interface(source, LAYER_NUMBER[layer]);
    this.#sources.set(link, source);
    source.detach = addWitness(link, (handle) => {
      // The queue of an input stays when another producer feeds it, under another name.
      if (link.name !== linkName) {
        linkName = link.name;
        this.#rename(source, linkName);
      }
      this.#write(source, handle, undefined);
    });
  }

  #watchDrops(): void {
    const source = this.#newSource('drops');
    const { pool } = this.#network;
    const only = this.#options.layer === undefined ? -1 : LAYER_NUMBER[this.#options.layer];
    this.#drops = source;
    source.detach = addWitness(pool, (handle, reason, actor) => {
      if (only >= 0 && pool.layer[handle] !== only) return;
      this.#write(source, handle, this.#comment(reason, actor));
    });
  }

  #newSource(name: string): Source {
    const { interfaces, missed } = this.#merged;
    if (this.#options.merge !== undefined) return { name, interfaces, missed, detach: () => {} };
    return {
      name,
      interfaces: new Int32Array(LAYERS).fill(-1),
      missed: new Float64Array(LAYERS),
      detach: () => {},
    };
  }

  #rename(source: Source, name: string): void {
    this.#noteMissed(source);
    source.name = name;
    if (this.#options.merge === undefined) source.interfaces.fill(-1);
  }

  #noteMissed(source: Source): void {
    for (let layer = 0; layer < LAYERS; layer++) {
      if (source.missed[layer]! > 0)
        this.#writer.addDropped(this.#interface(source, layer), source.missed[layer]!);
      source.missed[layer] = 0;
    }
  }

  #interface(source: Source, layer: number): number {
    let id = source.interfaces[layer]!;
    if (id < 0) {
      const linkType =
        layer === 3 ? LinkType.Raw : layer === 2 ? (this.#options.frameType ?? LinkType.Ethernet) : USER0;
      const name = this.#options.merge ?? source.name;
      id = this.#writer.addInterface({ linkType, name, description: DESCRIPTIONS[layer] });
      source.interfaces[layer] = id;
    }
    return id;
  }

  #write(source: Source, handle: number, comment: string | undefined): void {
    if (this.#ending) return;
    const pool = this.#network.pool;
    const layer = pool.layer[handle]! & (LAYERS - 1);
    if (this.#output.pending >= this.#limit) {
      source.missed[layer] = source.missed[layer]! + 1;
      this.#missed++;
      return;
    }
    const id = source.interfaces[layer]! < 0 ? this.#interface(source, layer) : source.interfaces[layer]!;
    const length = pool.length[handle]!;
    // The time of the breath: to ask for another would cost as much as the copy, and make garbage.
    const now = this.#network.runtime.clock[0];
    this.#writer.packet(id, now, pool.slab, pool.offset[handle]!, length, length, comment);
    if (++this.#packets >= this.#left) void this.stop();
  }

  #comment(reason: number, actor: number): string {
    const key = actor * 65536 + reason;
    let text = this.#comments.get(key);
    if (text === undefined) {
      text = `dropped: ${reasonName(reason)} (${this.#network.appName(actor)})`;
      this.#comments.set(key, text);
    }
    return text;
  }

  /** Ten times a second: what has gathered goes out, and links that came or went are noticed. */
  #tick(): void {
    if (this.#ending) return;
    const { runtime } = this.#network;
    this.#cancelTick = runtime.timer(runtime.now() + TICK, () => {
      this.flush();
      const wanted = this.#wantedLinks();
      for (const each of wanted) if (!this.#sources.has(each.link)) this.#watchLink(each);
      for (const [link, source] of this.#sources) {
        if (wanted.some((each) => each.link === link)) continue;
        source.detach();
        this.#noteMissed(source);
        this.#sources.delete(link);
      }
      // Apps may have changed places.
      this.#comments.clear();
      this.#tick();
    });
  }
}

/**
 * Captures the links that `links` names (`all`, `tun0`, `tun0.out -> delay.in`, with `*`), also those that come later.
 * Throws ERR_CONFIG, naming the links there are, when none is meant.
 */
export function captureLink(
  network: Network,
  links: LinkSelector,
  output: CaptureOutput,
  options: CaptureOptions = {},
): LinkCapture {
  return new LinkCapture(network, links, output, options);
}
