/** What a simulation leaves behind in a directory: a pcapng for each link, logs, and the series of flows. */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { reasonName } from '../../engine/reasons.ts';
import { TunconnectorError } from '../../errors.ts';
import { LinkType } from '../../packet/capture.ts';
import { PcapngWriter } from '../../packet/pcapng.ts';
import { addWitness } from '../../tun/capture/witness.ts';
import type { LogLine, Simulation } from '../simulation.ts';
import type { LinkSettings } from '../topology/topology.ts';
import { type Series, seriesCsv } from './series.ts';
import { seriesSvg } from './series-plot.ts';

/** What gathers before it is written. */
const CHUNK = 256 << 10;
/** Which of a link's places are seen from its first end, and which from its second: what it sends, and what reaches it. */
const SEEN = [
  ['a.out ', 'down.out '],
  ['b.out ', 'up.out '],
] as const;

export class Outputs {
  readonly #sim: Simulation;
  readonly #directory: string;
  readonly #ends: (() => void)[] = [];

  /**
   * @param directory made where it is missing; what is there under these names is overwritten
   * @throws ERR_CAPTURE when it cannot be written
   */
  constructor(sim: Simulation, directory: string) {
    this.#sim = sim;
    this.#directory = directory;
    this.#writing(() => {
      mkdirSync(path.join(directory, 'links'), { recursive: true });
      mkdirSync(path.join(directory, 'hosts'), { recursive: true });
      for (const settings of sim.topology.links)
        this.#ends.push(capture(sim, settings, this.#path('links', `${settings.name}.pcapng`)));
    });
  }

  #path(...names: string[]): string {
    return path.join(this.#directory, ...names);
  }

  #writing(work: () => void): void {
    try {
      work();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === undefined || error instanceof TunconnectorError) throw error;
      const remedy = code === 'EMFILE' ? 'allow more open files: ulimit -n' : undefined;
      throw new TunconnectorError('ERR_CAPTURE', `${this.#directory} cannot be written (${code})`, {
        remedy,
        cause: error,
      });
    }
  }

  /** Completes the files. @param title of the picture @throws ERR_CAPTURE */
  finish(series: Series, title: string): void {
    this.#writing(() => {
      for (const end of this.#ends.splice(0)) end();
      const { log, topology } = this.#sim;
      writeFileSync(this.#path('events.log'), log.map((line) => textOf(line, true)).join(''));
      const byHost = new Map<string | undefined, LogLine[]>();
      for (const line of log) byHost.set(line.host, [...(byHost.get(line.host) ?? []), line]);
      for (const name of topology.hosts.keys()) {
        const lines = byHost.get(name);
        if (lines)
          writeFileSync(
            this.#path('hosts', `${name}.log`),
            lines.map((line) => textOf(line, false)).join(''),
          );
      }
      if (series.samples.size === 0) return;
      writeFileSync(this.#path('flows.csv'), seriesCsv(series));
      writeFileSync(this.#path('flows.svg'), seriesSvg(series, title));
    });
  }
}

const textOf = ({ at, host, text }: LogLine, named: boolean): string =>
  `${(at / 1e9).toFixed(9)} ${named ? `${host ?? '-'} ` : ''}${text}\n`;

/** An interface for what either end sees, and one for what the link drops. Nothing of it is an event: the run is the same without. */
function capture(sim: Simulation, { name, ends, layer }: LinkSettings, file: string): () => void {
  const link = sim.link(name);
  const fd = openSync(file, 'w');
  const writer = new PcapngWriter({
    sink: (bytes) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    },
    bufferSize: CHUNK,
    epochNs: sim.runtime.startOfTime,
    application: 'tunconnector',
  });
  const { pool } = link.network;
  const { clock } = sim.runtime;
  const linkType = layer === 'L2' ? LinkType.Ethernet : LinkType.Raw;
  const ids = ends.map(({ host }, side) =>
    writer.addInterface({ linkType, name: host, description: `end ${side} of the link ${name}` }),
  );
  const dropped = writer.addInterface({ linkType, name: 'drops', description: 'what the link dropped' });
  const witnesses: (() => void)[] = [];
  for (const { link: each } of link.network.links()) {
    const side = SEEN.findIndex((places) => places.some((place) => each.name.startsWith(place)));
    if (side < 0) continue;
    const id = ids[side]!;
    witnesses.push(
      addWitness(each, (handle) => {
        const length = pool.length[handle]!;
        writer.packet(id, clock[0]!, pool.slab, pool.offset[handle]!, length, length);
      }),
    );
  }
  witnesses.push(
    addWitness(pool, (handle, reason) => {
      const length = pool.length[handle]!;
      const why = `dropped: ${reasonName(reason)}`;
      writer.packet(dropped, clock[0]!, pool.slab, pool.offset[handle]!, length, length, why);
    }),
  );
  return () => {
    for (const end of witnesses) end();
    writer.end();
    closeSync(fd);
  };
}
