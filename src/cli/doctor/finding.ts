/** What `tunconnector doctor` found out about one thing. */

/** `slow`: it works, and something is given away. */
export type Mark = 'ok' | 'slow' | 'missing';

export interface Finding {
  /** Heading it stands under. */
  group: string;
  name: string;
  mark: Mark;
  /** What is there, in a few words. */
  found: string;
  /** What the lack of it costs. */
  cost?: string;
  remedy?: string;
  /** The tunnel cannot do without it. */
  needed?: boolean;
}

/** Whether nothing is missing that the tunnel cannot do without. */
export function isFit(findings: readonly Finding[]): boolean {
  return !findings.some(({ mark, needed }) => mark === 'missing' && needed);
}
