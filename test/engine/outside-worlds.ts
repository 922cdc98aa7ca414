/** The two runtimes, so that one suite says what holds on both. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { LiveRuntime } from '../../src/engine/live-runtime.ts';
import type { Runtime } from '../../src/engine/runtime.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';

export interface World {
  runtime: Runtime;
  /** A folder of the test's own, for Unix sockets and storage. */
  folder: string;
  /** Lets time pass until it is so; fails after 10 s. */
  until(condition: () => boolean): Promise<void>;
  /** Lets so much time pass, ms. */
  pass(ms: number): Promise<void>;
  end(): void;
}

const LIMIT = 10_000;

function virtualWorld(): World {
  const runtime = new VirtualRuntime({ seed: 5 });
  const pass = async (ms: number) => runtime.advance(`${ms}ms`);
  return {
    runtime,
    folder: '/virtual',
    pass,
    until: async (condition) => {
      for (let ms = 0; !condition(); ms++) {
        if (ms === LIMIT) throw new Error(`not within ${LIMIT} ms of virtual time: ${condition}`);
        await pass(1);
      }
    },
    end: () => {},
  };
}

function liveWorld(): World {
  const folder = mkdtempSync(path.join(tmpdir(), 'outside-'));
  const pass = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  return {
    runtime: new LiveRuntime({ storage: path.join(folder, 'storage') }),
    folder,
    pass,
    until: async (condition) => {
      for (const start = performance.now(); !condition(); await pass(2)) {
        if (performance.now() - start > LIMIT) throw new Error(`not within ${LIMIT} ms: ${condition}`);
      }
    },
    end: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export const worlds: [string, () => World][] = [
  ['virtual', virtualWorld],
  ['live', liveWorld],
];

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
export const bytes = (from: string): Uint8Array => new Uint8Array(Buffer.from(from));
