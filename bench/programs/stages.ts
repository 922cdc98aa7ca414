/**
 * What each impairment costs: the time that one stage takes for a wire packet, and for a superframe of 44, in virtual time, so
 * that nothing waits. Beside it what a pipeline without stages takes for the same: flow table, marks, and all.
 *
 *   node build/bench/programs/stages.js [rounds] [kind...]
 *
 * It is processor time, and every stage has one turn in each round, so that a machine that is busy with other things is so for all of
 * them; shown are medians.
 */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import Table from 'cli-table3';
import { Pool } from 'tunconnector/engine';
import { tcpPacket, udpPacket } from 'tunconnector/packet';
import { ROOT } from '../harness/root.ts';

const FLOWS = 8;
const BURST = 256;
const SUPERFRAMES = 16;
const SEGMENTS = 44;
const SEGMENT = 1400;
/** Between wire packets, ns: 1.1 Gbit/s. */
const INTERVAL = 10_000;
/** Processor time of a turn, ns; the first rounds are for V8. */
const TURN = 40_000_000;
const WARM_UP = 2;

const load = async <T>(file: string): Promise<T> =>
  (await import(pathToFileURL(path.join(ROOT, 'dist', 'impair', file)).href)) as T;
const { Flows } = await load<typeof import('../../dist/impair/flows.js')>('flows.js');
const { Marks, row } = await load<typeof import('../../dist/impair/marks.js')>('marks.js');
const { stagesSchema } = await load<typeof import('../../dist/impair/options.js')>('options.js');
const { Pipeline } = await load<typeof import('../../dist/impair/pipeline.js')>('pipeline.js');
const { Mappings } = await load<typeof import('../../dist/impair/rebind/mappings.js')>('rebind/mappings.js');
const { makeStage } = await load<typeof import('../../dist/impair/stages.js')>('stages.js');
const { Train } = await load<typeof import('../../dist/impair/train.js')>('train.js');

type Stages = string | Record<string, unknown>[];

/** A packet in each millisecond of a second, over and over: 12 Mbit/s. Times a hundred, it is the load. */
const mahimahi = Array.from({ length: 1000 }, (_, ms) => `${ms + 1}\n`.repeat(100)).join('');

/** Wire packets of each flow that a log has; then their numbers begin again. */
const RECORDED = 400 * SEGMENTS;

/** Of the packets below: all left after 1 ms, but for one in a thousand. */
function verdicts(protocol: 'udp' | 'tcp'): string {
  const lines = ['{"event":"log","version":1,"direction":"up","seed":1}'];
  for (let flow = 1; flow <= FLOWS; flow++) {
    lines.push(`{"event":"flow","flow":"up:${flow}","is":"${protocol} 10.0.0.1:${flow} > 10.0.0.2:53"}`);
    for (let n = 1; n <= RECORDED; n++) {
      lines.push(`{"event":"in","at":0,"flow":"up:${flow}","n":${n},"bytes":1428}`);
      const what = n % 1000 === 0 ? '"drop","at":0' : '"out","at":1000000';
      lines.push(`{"event":${what},"flow":"up:${flow}","n":${n}}`);
    }
  }
  return lines.join('\n');
}

const subjectsOf = (superframes: boolean): Record<string, Stages> => ({
  pass: 'pass',
  blackhole: 'blackhole from 1000h',
  corrupt: 'corrupt 0.1%',
  delay: 'delay 1ms',
  'delay, jitter': 'delay 1ms 200us distribution normal',
  duplicate: 'duplicate 0.1%',
  loss: 'loss 0.1%',
  'loss, gemodel': 'loss gemodel 0.1% 50%',
  mtu: 'mtu 1500',
  onoff: 'onoff 1s 1ms',
  police: 'police 10gbit',
  rate: 'rate 10gbit',
  'rate, droptail full': 'rate 1gbit queue droptail limit 1000',
  'rate, codel': 'rate 1gbit queue codel limit 1000',
  'rate, fq_codel': 'rate 1gbit queue fq_codel limit 1000',
  'rate, pie': 'rate 1gbit queue pie limit 1000',
  rebind: 'rebind 1ms every 1000h',
  replay: [{ kind: 'replay', text: verdicts(superframes ? 'tcp' : 'udp') }],
  slot: 'slot 1ms',
  trace: [{ kind: 'trace', format: 'mahimahi', text: mahimahi }],
});

/** One stage, and packets for it. */
class Subject {
  readonly #pool = new Pool({ smallSlots: 8192, largeSlots: 512 });
  readonly #marks = new Marks(this.#pool);
  readonly #flows = new Flows(1024, 32, 1);
  readonly #pipeline = new Pipeline('default', this.#pool, this.#marks, 16);
  readonly #out = new Train();
  readonly #burst = new Int32Array(BURST);
  readonly #templates: number[];
  readonly #superframes: boolean;
  #now = 0;
  readonly times: number[] = [];

  constructor(stages: Stages, superframes: boolean) {
    this.#superframes = superframes;
    const shared = { pool: this.#pool, marks: this.#marks, flows: this.#flows, seed: 1, quantum: 50_000 };
    const link = {
      direction: 'up' as const,
      mappings: new Mappings(1024, 1),
      answers: new Train(),
      pipeline: -1,
    };
    const wanted = stagesSchema.parse(stages);
    this.#pipeline.arrange(
      wanted,
      (options, slot) =>
        makeStage(`up/default/${options.name}`, { ...shared, ...link, cell: 2 * slot }, options),
      0,
    );
    this.#templates = Array.from({ length: FLOWS }, (_, flow) => this.#template(flow + 1));
  }

  #template(port: number): number {
    const ends = { from: `10.0.0.1:${port}`, to: '10.0.0.2:53' };
    const pool = this.#pool;
    if (!this.#superframes) return pool.copyIn(udpPacket({ ...ends, payload: SEGMENT }), 3);
    const packet = pool.copyIn(tcpPacket({ ...ends, payload: SEGMENTS * SEGMENT }), 3);
    pool.segments[packet] = SEGMENTS;
    pool.segmentSize[packet] = SEGMENT;
    pool.gsoType[packet] = 1;
    pool.checksumStart[packet] = 20;
    pool.checksumOffset[packet] = 16;
    return packet;
  }

  /** For about so long; adds nanoseconds per packet to `times`. */
  run(length: number): void {
    const size = this.#superframes ? SUPERFRAMES : BURST;
    let packets = 0;
    const start = process.cpuUsage();
    let took = 0;
    while (took < length) {
      for (let i = 0; i < 16; i++) packets += this.#turn(size);
      const { user, system } = process.cpuUsage(start);
      took = (user + system) * 1000;
    }
    this.times.push(took / packets);
  }

  #turn(size: number): number {
    const pool = this.#pool;
    const wire = this.#superframes ? SEGMENTS : 1;
    let made = 0;
    for (const template of this.#templates) {
      const count = pool.stampBurst(template, this.#burst, size / FLOWS);
      for (let i = 0; i < count; i++) {
        this.#enter(this.#burst[i]!);
        this.#now += INTERVAL * wire;
      }
      made += count;
    }
    this.#pipeline.run(this.#out, this.#now);
    pool.freeBurst(this.#out.packets, this.#out.count);
    this.#out.count = 0;
    return made;
  }

  #enter(packet: number): void {
    const pool = this.#pool;
    const marks = this.#marks;
    const flows = this.#flows;
    const mark = row(packet);
    const at = pool.offset[packet]!;
    const flow = flows.find(pool.slab, at, at + pool.length[packet]!);
    marks.at[mark] = this.#now;
    marks.flow[mark] = flow;
    marks.hash[mark] = flows.hashes[flow]!;
    marks.number[mark] = flows.numbers[flow]!;
    marks.order[mark] = this.#pipeline.order[0]!;
    marks.twin[mark] = 0;
    flows.numbers[flow] = (flows.numbers[flow]! + pool.segments[packet]!) % RECORDED;
    this.#pipeline.order[0]! += pool.segments[packet]!;
    this.#pipeline.inbox.add(packet);
  }
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;

const [rounds = '9', ...kinds] = process.argv.slice(2);
const names = Object.keys(subjectsOf(false)).filter(
  (name) => name === 'pass' || kinds.length === 0 || kinds.some((kind) => name.startsWith(kind)),
);
const results = [false, true].map((superframes) => {
  const all = subjectsOf(superframes);
  const subjects = names.map((name) => new Subject(all[name]!, superframes));
  for (let round = 0; round < WARM_UP + Number(rounds); round++) {
    for (const subject of subjects) {
      subject.run(TURN);
      if (round < WARM_UP) subject.times.length = 0;
    }
  }
  return subjects.map(({ times }) => median(times));
});

const table = new Table({
  head: ['stage', 'ns/packet', 'of pass', 'ns/superframe', 'of pass'],
  colAligns: ['left', 'right', 'right', 'right', 'right'],
  chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  style: { head: [], border: [] },
});
const [packets, superframes] = results as [number[], number[]];
for (const [i, name] of names.entries()) {
  const cells = [packets, superframes].flatMap((all) => {
    const extra = all[i]! - all[0]!;
    return i === 0 ? [all[0]!.toFixed(0), ''] : [extra.toFixed(0), (all[i]! / all[0]!).toFixed(2)];
  });
  table.push([name, ...cells]);
}
process.stdout.write(`${table}\n`);
