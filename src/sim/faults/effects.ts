/** Does to links and hosts what faults say, and remembers what lasts: of two that overlap each ends by itself. */
import type { ImpairSpec } from '../../impair/spec/spec.ts';
import type { SimHost } from '../network/host.ts';
import type { SimLink } from '../network/link.ts';
import type { SimSwitch } from '../network/switch.ts';
import type { Deed } from './faults.ts';

interface LinkState {
  /** Who has cut it. */
  readonly cuts: Set<number>;
  /** Another impairment than that of the topology. */
  spec: ImpairSpec | undefined;
  /** Stages more, by who wants them. */
  readonly bursts: Map<number, string>;
}

export class FaultEffects {
  readonly #link: (name: string) => SimLink;
  readonly #host: (name: string) => SimHost;
  readonly #switches: () => readonly SimSwitch[];
  readonly #links = new Map<string, LinkState>();

  constructor(
    link: (name: string) => SimLink,
    host: (name: string) => SimHost,
    switches: () => readonly SimSwitch[],
  ) {
    this.#link = link;
    this.#host = host;
    this.#switches = switches;
  }

  async do(deed: Deed): Promise<void> {
    switch (deed.kind) {
      case 'cut':
        for (const name of deed.links) this.#state(name).cuts.add(deed.by);
        for (const name of deed.links) this.#plug(name);
        if (deed.sets && deed.sets.size > 0)
          for (const each of this.#switches()) each.separate(deed.by, deed.sets);
        return;
      case 'mend':
        for (const name of deed.links) this.#state(name).cuts.delete(deed.by);
        for (const name of deed.links) this.#plug(name);
        for (const each of this.#switches()) each.separate(deed.by, undefined);
        return;
      case 'up':
        this.#state(deed.link).cuts.clear();
        return this.#plug(deed.link);
      case 'impair':
        this.#state(deed.link).spec = deed.spec;
        return this.#change(deed.link);
      case 'burst': {
        const { bursts } = this.#state(deed.link);
        if (deed.stages === undefined) bursts.delete(deed.by);
        else bursts.set(deed.by, deed.stages);
        return this.#change(deed.link);
      }
      case 'crash':
        return this.#host(deed.host).crash();
      case 'start':
        return this.#host(deed.host).start();
      case 'pause':
        return this.#host(deed.host).pause(deed.by);
      case 'resume':
        return this.#host(deed.host).resume(deed.by);
      case 'drift':
        return this.#host(deed.host).drift(deed.ppm);
      case 'jump':
        return this.#host(deed.host).jump(deed.span);
      case 'disk':
        return this.#host(deed.host).configureDisk(deed.options);
      case 'diskFails':
        return this.#host(deed.host).disk.failNext(deed.failure);
    }
  }

  #state(link: string): LinkState {
    let state = this.#links.get(link);
    if (!state) this.#links.set(link, (state = { cuts: new Set(), spec: undefined, bursts: new Map() }));
    return state;
  }

  #plug(name: string): void {
    this.#link(name).isDown = this.#state(name).cuts.size > 0;
  }

  #change(name: string): Promise<void> {
    const { spec, bursts } = this.#state(name);
    return this.#link(name).change(spec, bursts);
  }
}
