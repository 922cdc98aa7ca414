/** Tenants, functions, chains, classifiers: what people and programs configure. */
import { z } from 'zod';
import { sameJson } from '../../../engine/config.ts';
import { checkOptions } from '../../../engine/options.ts';
import { CLASSIFIER_BYTES } from '../model/limits.ts';
import {
  type Classifier,
  EGRESS,
  INGRESS,
  KINDS,
  ONLY,
  put,
  remove,
  type Tenant,
  unchanged,
} from '../model/model.ts';
import { chainFunctions, description, functionName, ifRev, spi } from '../model/schema.ts';
import type { TenantView } from '../model/view.ts';
import {
  type Context,
  checkLimit,
  checkRev,
  concurrent,
  edit,
  misfit,
  notFound,
  nothingToDo,
  type Plan,
  removing,
  writing,
} from './request.ts';

const condition = { ifRev: ifRev.optional() };

export const putTenant = concurrent(
  z.strictObject({ description: description.default(''), ...condition }),
  ({ description, ifRev }, context) => {
    const { tenant, view, limits } = context;
    checkRev(context, 'tenant', ONLY, ifRev);
    const before = view.tenant;
    if (before?.description === description) return nothingToDo({ rev: view.rev('tenant') });
    if (!before) checkLimit(context.tenants(), limits.tenants, 'tenants');
    const value = { ...(before ?? newTenant(context)), description };
    return {
      ...writing(context, 'tenant', ONLY, put(tenant, 'tenant', ONLY, value)),
      answer: (rev) => ({ rev }),
    };
  },
);

const newTenant = ({ secret }: Context): Omit<Tenant, 'description'> => ({
  revision: 0,
  replica: 0,
  secret: Buffer.from(secret(8)).toString('hex'),
});

/** Only an empty one: what hangs on it is removed by whoever made it, and flows expire. */
export const removeTenant = concurrent(z.strictObject(condition), ({ ifRev }, context) => {
  const { view } = context;
  checkRev(context, 'tenant', ONLY, ifRev);
  const rest = KINDS.filter((kind) => kind !== 'tenant' && view.all(kind).size > 0);
  const found = rest.map((kind) => `${kind}: ${view.all(kind).size}`);
  if (rest.length > 0) misfit('tenant', found.join(', '), 'one that is empty');
  return removing(context, 'tenant', ONLY);
});

export const putFunction = edit(
  z.strictObject({ name: functionName, description: description.default(''), ...condition }),
  ({ name, description, ifRev }, context) => {
    const { tenant, view, limits } = context;
    if (name === INGRESS || name === EGRESS) misfit('name', name, 'another name: every tenant has this one');
    checkRev(context, 'function', name, ifRev);
    const before = view.get('function', name);
    if (before?.value.description === description) return nothingToDo({ rev: before.rev });
    if (!before) checkLimit(view.all('function').size, limits.functions, 'functions');
    const op = put(tenant, 'function', name, { description });
    return { ...writing(context, 'function', name, op), answer: (rev) => ({ rev }) };
  },
);

export const removeFunction = edit(
  z.strictObject({ name: functionName, ...condition }),
  ({ name, ifRev }, context) => {
    const { view } = context;
    checkRev(context, 'function', name, ifRev);
    const users = [...view.all('chain').values()].filter(({ value }) =>
      value.revisions.some(({ functions }) => functions.includes(name)),
    );
    if (users.length > 0) misfit('name', name, `a function that chain ${users[0].name} does not use`);
    if (view.replicasOf(name).length > 0) misfit('name', name, 'a function without replicas');
    return removing(context, 'function', name);
  },
);

/** Every edit is a new revision. Those before stay until no packet can carry them. */
export const putChain = edit(
  z.strictObject({ spi, functions: chainFunctions, symmetric: z.boolean().default(true), ...condition }),
  ({ spi, functions, symmetric, ifRev }, context, tenant) => {
    const { view, limits } = context;
    checkRev(context, 'chain', spi, ifRev);
    for (const [i, name] of functions.entries()) checkFunction(view, name, `functions.${i}`);
    const before = view.get('chain', spi);
    const inForce = view.chainRevision(spi);
    if (inForce && inForce.symmetric === symmetric && sameJson(inForce.functions, functions)) {
      return nothingToDo({ rev: before!.rev, revision: inForce.revision });
    }
    if (!before) checkLimit(view.all('chain').size, limits.chains, 'chains');
    const old = before?.value.revisions ?? [];
    checkLimit(old.length, limits.revisions, `revisions of chain ${spi} that packets may still carry`);
    const revision = tenant.revision + 1;
    const value = { revisions: [...old, { revision, functions, symmetric }], ended: false };
    const op = put(context.tenant, 'chain', spi, value);
    return {
      ...writing(context, 'chain', spi, op),
      tenant: { revision },
      answer: (rev) => ({ rev, revision }),
    };
  },
);

/** No new flows from now on; it goes when no packet can carry it any more. */
export const endChain = edit(z.strictObject({ spi, ...condition }), ({ spi, ifRev }, context) => {
  const { view, tenant } = context;
  checkRev(context, 'chain', spi, ifRev);
  const before = view.get('chain', spi) ?? notFound(`there is no chain ${spi}`);
  if (before.value.ended) return nothingToDo({ rev: before.rev });
  const rule = view.classifier?.rules.find(({ chain }) => chain === spi);
  if (rule) misfit('spi', spi, `a chain that the rule ${rule.name} does not lead to`);
  const op = put(tenant, 'chain', spi, { ...before.value, ended: true });
  return { ...writing(context, 'chain', spi, op), answer: (rev) => ({ rev }) };
});

const classifierSchema = z.strictObject({
  rules: z.array(z.strictObject({ name: functionName, match: z.unknown(), chain: z.union([spi, z.null()]) })),
  ...condition,
});

export const putClassifier = edit(classifierSchema, ({ rules, ifRev }, context) => {
  const { view, tenant, limits } = context;
  checkRev(context, 'classifier', ONLY, ifRev);
  if (rules.length > limits.rules) misfit('rules', rules.length, `at most ${limits.rules}`);
  const names = new Set<string>();
  const value: Classifier = {
    rules: rules.map(({ name, match, chain }, i) => {
      if (names.has(name)) misfit(`rules.${i}.name`, name, 'a name that no rule before it has');
      names.add(name);
      if (chain !== null && !view.chainRevision(chain))
        misfit(`rules.${i}.chain`, chain, 'a chain that is there');
      return { name, match: checkMatch(context, match, i), chain };
    }),
  };
  if (rules.length === 0) {
    return view.classifier ? removing(context, 'classifier', ONLY) : nothingToDo({ rev: 0 });
  }
  const op = put(tenant, 'classifier', ONLY, value);
  if (op.value!.length > CLASSIFIER_BYTES)
    misfit('rules', op.value!.length, `at most ${CLASSIFIER_BYTES} bytes`);
  const before = view.get('classifier');
  if (before?.text === op.value) return nothingToDo({ rev: before!.rev });
  return { ...writing(context, 'classifier', ONLY, op), answer: (rev) => ({ rev }) };
});

/** As the schema of the core has it, with the place in the whole request in what it says. */
function checkMatch({ match }: Context, found: unknown, i: number): unknown {
  const result = match.safeParse(found);
  if (result.success) return result.data;
  // The same check once more with the place in front; its error is the one to throw.
  const rules = Array.from({ length: i + 1 }, (_, n) => (n === i ? { match: found } : undefined));
  return checkOptions(z.object({ rules: z.array(z.object({ match }).optional()) }), { rules });
}

/** @throws ERR_CONFIG unless it can stand in a chain */
function checkFunction(view: TenantView, name: string, path: string) {
  if (view.get('function', name)) return;
  const known = [...view.all('function').keys()].sort().slice(0, 20);
  misfit(path, name, known.length > 0 ? `one of ${known.join(', ')}` : 'a function: there is none yet');
}

/** Takes back a revision that packets cannot carry any more, and those before it; with the last one of a chain that has ended, the chain. */
export function retireRevision({ tenant, view }: Context, spi: string, revision: number): Plan | undefined {
  const chain = view.get('chain', spi);
  if (!chain) return undefined;
  const { ended, revisions } = chain.value;
  const kept = revisions.filter(
    (each, i) => each.revision > revision || (!ended && i === revisions.length - 1),
  );
  if (kept.length === revisions.length) return undefined;
  const op =
    kept.length === 0 ? remove(tenant, 'chain', spi) : put(tenant, 'chain', spi, { ended, revisions: kept });
  return { compare: [unchanged(tenant, 'chain', spi, chain.rev)], ops: [op], answer: () => undefined };
}
