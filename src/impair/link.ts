/** An impaired link as a network: two ports, and an impairment each way. `up` is from the left to the right. */
import type { AppSpec } from '../engine/app.ts';
import type { NetworkConfig } from '../engine/config.ts';
import { impair } from './impair.ts';
import type { CompiledSpec } from './spec/spec.ts';

/** The impairments by their names in the network of `impairedLink`. */
export const impairments = ({ up, down }: CompiledSpec): Record<'up' | 'down', AppSpec> => ({
  up: impair(up),
  down: impair(down),
});

/** What one direction tells senders passes the other one. */
export const ANSWERS: readonly string[] = ['up.back -> down.answers', 'down.back -> up.answers'];

export function impairedLink(left: AppSpec, right: AppSpec, spec: CompiledSpec): NetworkConfig {
  return {
    apps: { left, right, ...impairments(spec) },
    links: [
      ...['left.out -> up.in', 'up.out -> right.in', 'right.out -> down.in', 'down.out -> left.in'],
      ...ANSWERS,
    ],
  };
}
