/** `chain show`: what Roulette has, as tables. */
import type {
  ChainDocument,
  ClassifierDocument,
  FlowDocument,
  FunctionList,
  ReplicaDocument,
  RouletteClient,
  TenantDocument,
} from '../../control/client/roulette.ts';
import { Exit, usageError } from '../exit.ts';
import { grouped } from '../format.ts';
import { type ChainAction, type ChainOptions, MAX_REPLICA, MAX_SPI, numberOf } from './chain.ts';
import { type Row, table } from './table.ts';

const FLOWS = 20;

interface Part {
  read(client: RouletteClient, options: ChainOptions): Promise<object>;
  /** @param read what `read` gave */
  print(read: never): string;
}

const part = <T extends object>(
  read: (client: RouletteClient, options: ChainOptions) => Promise<T>,
  print: (read: T) => string,
): Part => ({ read, print });

const PARTS: Record<string, Part> = {
  chains: part(
    (client) => client.chains(),
    ({ chains }) => chainTable(chains),
  ),
  functions: part(
    (client) => client.functions(),
    ({ functions }) => functionTable(functions),
  ),
  replicas: part(
    (client) => client.replicas(),
    ({ replicas }) => replicaTable(replicas),
  ),
  rules: part(
    (client) => client.classifier(),
    ({ rules }) => ruleTable(rules),
  ),
  flows: part(
    (client, { limit, spi, replica }) =>
      client.flows({
        limit: limit === undefined ? FLOWS : numberOf(limit, '--limit', 1, 1000),
        ...(spi !== undefined && { spi: numberOf(spi, '--spi', 1, MAX_SPI) }),
        ...(replica !== undefined && { replica: numberOf(replica, '--replica', 1, MAX_REPLICA) }),
      }),
    ({ flows, total }) => flowTable(flows, total),
  ),
};

export const showChain: ChainAction = async (connected, words, options) => {
  const [what, more] = words;
  if (more !== undefined) throw usageError(`chain show: found "${more}" behind "${what}"`, 'leave it out');
  const flowsOnly = options.limit ?? options.spi ?? options.replica;
  if (flowsOnly !== undefined && what !== 'flows')
    throw usageError('--limit, --spi and --replica are for flows', 'say "chain show flows"');
  const write = (value: object, text: () => string) =>
    void process.stdout.write(`${options.json ? JSON.stringify(value) : text()}\n`);
  if (what === 'tenants') {
    const list = await connected.anybody.tenants();
    write(list, () => tenantTable(list.tenants));
    return Exit.ok;
  }
  const one = what !== undefined && /^\d+$/.test(what) ? numberOf(what, 'chain show', 1, MAX_SPI) : undefined;
  const known =
    what === undefined || one !== undefined ? undefined : Object.hasOwn(PARTS, what) && PARTS[what];
  if (known === false)
    throw usageError(
      `chain show: found "${what}", expected a chain, ${Object.keys(PARTS).join(', ')} or tenants`,
    );
  const client = await connected.client();
  if (one !== undefined) {
    const [chain, { replicas }] = await Promise.all([client.chain(one), client.replicas()]);
    const functions = new Set(chain.revisions.flatMap((each) => each.functions));
    const own = replicas.filter((each) => functions.has(each.function));
    write({ ...chain, replicas: own }, () => `${chainTable([chain], true)}\n${replicaTable(own)}`);
    return Exit.ok;
  }
  if (known) {
    const read = await known.read(client, options);
    write(read, () => known.print(read as never));
    return Exit.ok;
  }
  const all = ['chains', 'functions', 'replicas', 'rules'];
  const read = await Promise.all(all.map((name) => PARTS[name]!.read(client, options)));
  write(Object.fromEntries(all.map((name, i) => [name, partOf(read[i]!, name)])), () =>
    all.map((name, i) => PARTS[name]!.print(read[i] as never)).join('\n'),
  );
  return Exit.ok;
};

const partOf = (read: object, name: string): unknown => (read as Record<string, unknown>)[name];

function chainTable(chains: readonly ChainDocument[], old = false): string {
  const rows = chains.flatMap(({ spi, rev, ended, revisions, flows }) => {
    const shown = old ? revisions : revisions.slice(-1);
    return shown.map(({ revision, functions, symmetric }): Row => {
      const inForce = revision === revisions.at(-1)!.revision;
      const state = ended ? 'ended' : inForce ? (symmetric ? 'both ways' : 'one way') : 'old';
      return [spi, functions.join(' > '), state, revision, inForce ? grouped(flows) : '', inForce ? rev : ''];
    });
  });
  const head = ['chain', 'functions', 'state', 'revision', 'flows', 'rev'];
  return table(head, ['chain', 'revision', 'flows', 'rev'], rows, 'no chains');
}

function functionTable(functions: FunctionList['functions']): string {
  const rows = functions.map(
    ({ name, description, ready, draining, stale }): Row => [name, ready, draining, stale, description],
  );
  const numbers = ['ready', 'draining', 'stale'];
  return table(['function', ...numbers, 'description'], numbers, rows, 'no functions');
}

function replicaTable(replicas: readonly ReplicaDocument[]): string {
  const rows = replicas.map(({ id, function: name, address, port, weight, flows, ...more }): Row => {
    const where = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    const state = [more.state, more.stale && 'stale', more.suspected && `${more.suspected}?`];
    return [id, name, where, weight, state.filter(Boolean).join(', '), grouped(flows)];
  });
  const head = ['replica', 'function', 'address', 'weight', 'state', 'flows'];
  return table(head, ['replica', 'weight', 'flows'], rows, 'no replicas');
}

function ruleTable(rules: ClassifierDocument['rules']): string {
  const rows = rules.map(({ name, match, chain }): Row => {
    return [name, typeof match === 'string' ? match : JSON.stringify(match), chain ?? 'none'];
  });
  return table(['rule', 'match', 'chain'], ['chain'], rows, 'no rules');
}

function flowTable(flows: readonly FlowDocument[], total: number): string {
  const rows = flows.map(({ id, key, spi, revision, generation, path, egress, pinned }): Row => {
    const way = [...path, egress === 0 ? '?' : egress].join(' > ');
    return [id, key, spi, `${revision}.${generation}`, way, pinned ? 'pinned' : ''];
  });
  const head = ['flow', 'key', 'chain', 'path of', 'replicas', ''];
  const more = total > flows.length ? `\n${grouped(flows.length)} of ${grouped(total)} flows` : '';
  return table(head, ['chain'], rows, 'no flows') + more;
}

function tenantTable(tenants: readonly TenantDocument[]): string {
  const rows = tenants.map(({ tenant, description, chains, replicas, rules, flows }): Row => {
    return [tenant, chains, replicas, rules, grouped(flows), description];
  });
  const head = ['tenant', 'chains', 'replicas', 'rules', 'flows', 'description'];
  return table(head, head.slice(0, 5), rows, 'no tenants');
}
