/** A runtime for benchmarks of the engine alone: the live one, breathing as often as it can and on demand only. */
import { LiveRuntime } from 'tunconnector/engine';

type Network = Parameters<LiveRuntime['drive']>[0];

/** Breaths between two looks at the clock that ends the measurement: each look makes numbers that are garbage then. */
const BREATHS = 1024;

export class BreathRuntime extends LiveRuntime {
  #network: Network | undefined;

  override drive(network: Network): ReturnType<LiveRuntime['drive']> {
    this.#network = network;
    return {
      wake() {},
      stop: () => {
        this.#network = undefined;
      },
      watch() {
        throw new Error('nothing here has a descriptor');
      },
    };
  }

  /** Breathes for about so many seconds; returns for how many it was. */
  breathe(seconds: number): number {
    const start = this.now();
    const end = start + seconds * 1e9;
    for (;;) {
      for (let i = 0; i < BREATHS; i++) this.#network!.breathe();
      const now = this.now();
      if (now >= end) return (now - start) / 1e9;
    }
  }
}
