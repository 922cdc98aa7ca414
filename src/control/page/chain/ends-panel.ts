/** Where packets come in and where they leave: ingresses and egresses, and the rules by which flows get their chains. */
import { byId, h, setText } from '../shared/dom.ts';
import { counted, matchText } from '../shared/format.ts';
import { Keyed, type Shown } from '../shared/keyed.ts';
import { placeOf, type SeenReplica } from './picture.ts';
import { perSecond, type ReplicaRate, rateText } from './rate-text.ts';
import type { Tenant } from './tenant.ts';

const ROLES = ['ingress', 'egress'];

export function endsPanel(tenant: Tenant): void {
  let rates = new Map<number, ReplicaRate>();
  const rows = new Keyed<SeenReplica>(
    byId('end-rows'),
    ({ id }) => id,
    () => endRow(() => rates),
  );
  const draw = () => {
    const ends = tenant.replicas.all.filter(({ function: of }) => ROLES.includes(of));
    ends.sort((a, b) => ROLES.indexOf(a.function) - ROLES.indexOf(b.function) || a.id - b.id);
    rates = new Map(tenant.rates.value?.replicas.map((each) => [each.replica, each]));
    rows.show(ends);
    byId('no-ends').hidden = ends.length > 0;
  };
  tenant.known.watch(draw);
  tenant.rates.watch(draw);
  rulesPanel(tenant);
}

function endRow(rates: () => ReadonlyMap<number, ReplicaRate>): Shown<SeenReplica> {
  const name = h('th', { scope: 'row' });
  const cells = ['state', 'number', 'number', 'number', 'number'].map((kind) => h('td', { class: kind }));
  const element = h('tr', { class: 'replica' }, name, ...cells);
  return {
    element,
    update({ id, state, flows, function: of, ...where }) {
      const rate = state === 'gone' ? undefined : rates().get(id);
      element.dataset.state = state;
      setText(name, `${of} ${id}, ${placeOf(where)}`);
      const texts = [
        state,
        // A flow does not say where it came in.
        of === 'egress' ? counted(flows) : '',
        rateText(rate?.bitsIn),
        rateText(rate?.bitsOut),
        perSecond(rate?.drops),
      ];
      for (const [i, cell] of cells.entries()) setText(cell, texts[i]!);
    },
  };
}

function rulesPanel(tenant: Tenant): void {
  let shown = '';
  tenant.known.watch((known) => {
    if (!known) return;
    const { rules } = known.classifier;
    const text = JSON.stringify(rules);
    if (text === shown) return;
    shown = text;
    byId('no-rules').hidden = rules.length > 0;
    byId('rule-list').replaceChildren(
      ...rules.map(({ name, match, chain }) => {
        const to = chain === null ? 'no chain' : `chain ${chain}`;
        return h(
          'li',
          {},
          h('b', {}, name),
          ` ${matchText(match) || 'everything'} `,
          h('span', {}, `› ${to}`),
        );
      }),
    );
  });
}
