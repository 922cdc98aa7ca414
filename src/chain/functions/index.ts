/** The ready-made functions, by the names that `tunconnector vnf NAME` knows them by. */
import type { Vnf } from '../vnf/define.ts';
import { balance } from './balance.ts';
import { counter } from './counter.ts';
import { firewall } from './firewall.ts';
import { impairment } from './impair.ts';
import { match } from './match.ts';
import { mirror } from './mirror.ts';
import { natFunction } from './nat.ts';
import { pass } from './pass.ts';
import { rateLimit } from './rate-limit.ts';
import { rewrite } from './rewrite.ts';

export { balance, counter, firewall, impairment, match, mirror, natFunction, pass, rateLimit, rewrite };

const all = [pass, counter, rewrite, rateLimit, match, mirror, balance, firewall, natFunction, impairment];

export const READY_MADE: ReadonlyMap<string, Vnf<never>> = new Map(
  all.map((each) => [each.vnf, each as unknown as Vnf<never>]),
);
