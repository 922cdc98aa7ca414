/**
 * Drives stages without a network: packets come in at given times, what leaves is written down with its time. A
 * million packets take a second or so.
 */
import type { z } from 'zod';
import { Pool } from '../../src/engine/pool.ts';
import { Flows } from '../../src/impair/flows.ts';
import { Marks, row } from '../../src/impair/marks.ts';
import { STAGES, stagesSchema } from '../../src/impair/options.ts';
import { type MakeStage, Pipeline } from '../../src/impair/pipeline.ts';
import { Mappings } from '../../src/impair/rebind/mappings.ts';
import { STAGE_CELLS } from '../../src/impair/scope.ts';
import type { Stage } from '../../src/impair/stage.ts';
import { makeStage, type stageSchema } from '../../src/impair/stages.ts';
import { Train } from '../../src/impair/train.ts';
import { tcpPacket, udpPacket } from '../../src/packet/build.ts';
import { NONE } from '../../src/packet/key-table.ts';
import { Protocol } from '../../src/packet/protocol.ts';
import { Gso } from '../../src/packet/segment.ts';
import { pseudoSum } from '../../src/packet/transport.ts';
import { put16 } from '../../src/packet/word.ts';

export type StageInput = z.input<typeof stageSchema>;

export interface DriveOptions {
  seed?: number;
  /** ns. Default 0: wire packets leave at their very times. */
  quantum?: number;
  /** Flows at a time. */
  flows?: number;
}

/** What left the last stage. */
export interface Departure {
  /** When its turn was, and when it left: ns. */
  at: number;
  time: number;
  /** Its flow's name for draws; with `number`, a wire packet's name. */
  hash: number;
  number: number;
  segments: number;
  /** Whether it is a copy that a stage made. */
  copy: boolean;
  bytes: Uint8Array;
}

export interface Shape {
  segments: number;
  /** Payload bytes of each segment. Default 100. */
  size?: number;
  v6?: boolean;
  udp?: boolean;
  port?: number;
  ecn?: number;
}

/** A UDP packet of one of the flows that tests tell apart by `port`. */
export const datagram = (port = 1000, payload = 100, ecn = 0): Uint8Array =>
  udpPacket({ from: `10.0.0.1:${port}`, to: '10.0.0.2:2000', payload, ecn });

export class Drive {
  readonly pool = new Pool({ smallSlots: 4096, largeSlots: 64 });
  readonly marks = new Marks(this.pool);
  readonly flows: Flows;
  readonly pipeline = new Pipeline('test', this.pool, this.marks, STAGES);
  readonly left: Departure[] = [];
  /** What stages tell senders. */
  readonly answers = new Train();
  now = 0;
  readonly #out = new Train();

  constructor(stages: StageInput | StageInput[], options: DriveOptions = {}) {
    const { seed = 1, quantum = 0 } = options;
    this.flows = new Flows(options.flows ?? 1024, 16 * STAGE_CELLS, 1);
    const all = Array.isArray(stages) ? stages : [stages];
    const { pool, marks, flows, answers } = this;
    const context = {
      pool,
      marks,
      flows,
      seed,
      quantum,
      answers,
      direction: 'up' as const,
      // Nobody gives the flows a pipeline here.
      pipeline: NONE,
      mappings: new Mappings(64, 1),
    };
    const make: MakeStage = (options, slot) =>
      makeStage(`up/test/${options.name}`, { ...context, cell: slot * STAGE_CELLS }, options);
    this.pipeline.arrange(stagesSchema.parse(all), make, 0);
  }

  stage(place = 0): Stage {
    return this.pipeline.steps[place].stage;
  }

  /** Wire packets that a stage dropped, for any reason or one. */
  dropped(reason?: number, place = 0): number {
    const { drops } = this.stage(place);
    if (reason !== undefined) return drops.get(reason)?.[0] ?? 0;
    return [...drops.values()].reduce((sum, [packets]) => sum + packets, 0);
  }

  packet(bytes: Uint8Array = datagram()): number {
    return this.pool.copyIn(bytes, 3);
  }

  /** One packet that stands for many, as a TUN hands it over: its checksum is open. Of one segment: a wire packet. */
  superframe({ segments, size = 100, v6 = false, udp = false, port = 1000, ecn = 0 }: Shape): number {
    const { pool } = this;
    const build = udp ? udpPacket : tcpPacket;
    const from = v6 ? `[fd00::1]:${port}` : `10.0.0.1:${port}`;
    const to = v6 ? '[fd00::2]:2000' : '10.0.0.2:2000';
    const packet = this.packet(build({ from, to, payload: segments * size, ecn }));
    if (segments === 1) return packet;
    pool.segments[packet] = segments;
    pool.segmentSize[packet] = size;
    pool.gsoType[packet] = udp ? Gso.Udp : v6 ? Gso.TcpV6 : Gso.TcpV4;
    pool.checksumStart[packet] = v6 ? 40 : 20;
    pool.checksumOffset[packet] = udp ? 6 : 16;
    const at = pool.offset[packet];
    const transport = at + pool.checksumStart[packet];
    const end = at + pool.length[packet];
    const pseudo = pseudoSum(pool.slab, at, end, udp ? Protocol.Udp : Protocol.Tcp, end - transport);
    put16(pool.slab, transport + pool.checksumOffset[packet], pseudo);
    return packet;
  }

  /** Packets that come at `at`, in one breath. */
  send(at: number, ...packets: number[]): void {
    this.#pass(at - 1);
    for (const packet of packets) this.#enter(packet, at);
    this.now = at;
    this.#run();
    this.#note();
    this.advance(at);
  }

  /** Time passes; whatever is due by then leaves, at its very time. */
  advance(to: number): void {
    this.#pass(to);
    this.now = to;
  }

  /**
   * `n` equal packets, one every `interval` ns, 256 to a breath. How often each left, and the times they did if wanted.
   */
  many(n: number, interval = 0, bytes = datagram(), times?: Float64Array): Uint8Array {
    const { pool, marks } = this;
    const seen = new Uint8Array(n);
    const template = this.packet(bytes);
    const burst = new Int32Array(256);
    const start = this.now;
    const collect = () => {
      for (let i = 0; i < this.#out.count; i++) {
        const packet = this.#out.packets[i];
        const mark = row(packet);
        for (let s = 0; s < pool.segments[packet]; s++) {
          seen[marks.number[mark] + s]++;
          if (times) times[marks.number[mark] + s] = marks.at[mark];
        }
        pool.free(packet);
      }
      this.#out.count = 0;
    };
    for (let done = 0; done < n; ) {
      const count = pool.stampBurst(template, burst, Math.min(256, n - done));
      if (count === 0) throw new Error('the stage holds more packets than the test has memory for');
      for (let i = 0; i < count; i++) this.#enter(burst[i], start + (done + i) * interval);
      done += count;
      this.now = start + (done - 1) * interval;
      this.#run();
      collect();
    }
    pool.free(template);
    while (this.pipeline.due[0] < Number.POSITIVE_INFINITY) {
      this.now = Math.max(this.now, this.pipeline.due[0]);
      this.#run();
      collect();
    }
    return seen;
  }

  /** Ends the stages. Packets that are alive after that were leaked. */
  close(): number {
    this.pipeline.close();
    return this.pool.live;
  }

  #enter(packet: number, at: number): void {
    const { pool, marks, flows, pipeline } = this;
    const mark = row(packet);
    const flow = flows.find(pool.slab, pool.offset[packet], pool.offset[packet] + pool.length[packet]);
    marks.at[mark] = at;
    marks.flow[mark] = flow;
    marks.hash[mark] = flows.hashes[flow];
    marks.number[mark] = flows.numbers[flow];
    marks.order[mark] = pipeline.order[0];
    marks.twin[mark] = 0;
    flows.numbers[flow] += pool.segments[packet];
    pipeline.order[0] += pool.segments[packet];
    pipeline.inbox.add(packet);
    marks.log?.enter(packet);
  }

  #run(): void {
    this.pipeline.run(this.#out, this.now);
  }

  #pass(to: number): void {
    while (this.pipeline.due[0] <= to) {
      this.now = Math.max(this.now, this.pipeline.due[0]);
      this.#run();
      this.#note();
    }
  }

  #note(): void {
    const { pool, marks } = this;
    for (let i = 0; i < this.#out.count; i++) {
      const packet = this.#out.packets[i];
      const mark = row(packet);
      this.left.push({
        at: marks.at[mark],
        time: this.now,
        hash: marks.hash[mark],
        number: marks.number[mark],
        segments: pool.segments[packet],
        copy: marks.twin[mark] !== 0,
        bytes: pool.copyOut(packet),
      });
      pool.free(packet);
    }
    this.#out.count = 0;
  }
}
