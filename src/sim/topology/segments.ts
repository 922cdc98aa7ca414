/** Which ends of links reach each other without a router: both of a link, or all hosts around switches that hang together. */
import type { EndSettings, LinkSettings } from './topology.ts';

export interface Segment {
  /** Of hosts alone. */
  ends: EndSettings[];
  /** Whether frames are switched here; otherwise it is one link between two hosts. */
  isSwitched: boolean;
}

/** In the order of their first links. */
export function segmentsOf(links: readonly LinkSettings[]): Segment[] {
  const switches = new Groups();
  for (const { ends } of links)
    if (ends[0].isSwitch && ends[1].isSwitch) switches.join(ends[0].host, ends[1].host);
  const segments: Segment[] = [];
  const bySwitch = new Map<string, Segment>();
  for (const { ends } of links) {
    const at = ends.find(({ isSwitch }) => isSwitch);
    if (!at) {
      segments.push({ ends: [...ends], isSwitched: false });
      continue;
    }
    const group = switches.of(at.host);
    let segment = bySwitch.get(group);
    if (!segment) {
      bySwitch.set(group, (segment = { ends: [], isSwitched: true }));
      segments.push(segment);
    }
    segment.ends.push(...ends.filter(({ isSwitch }) => !isSwitch));
  }
  return segments;
}

/** Names that hang together. */
export class Groups {
  readonly #parent = new Map<string, string>();

  /** The name that stands for its group. */
  of(name: string): string {
    let top = name;
    for (let next = this.#parent.get(top); next !== undefined; next = this.#parent.get(top)) top = next;
    if (top !== name) this.#parent.set(name, top);
    return top;
  }

  /** False: they were in one group before. */
  join(a: string, b: string): boolean {
    const [one, other] = [this.of(a), this.of(b)];
    if (one === other) return false;
    this.#parent.set(one, other);
    return true;
  }
}
