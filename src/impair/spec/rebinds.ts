/** Whether what one direction of a link translates the other one translates back. */
import { configError, sameJson } from '../../engine/config.ts';
import { arrangementAt, type ImpairOptions, type NamedStage } from '../options.ts';

/**
 * A NAT has two sides: what it does to packets one way it undoes the other way, for the same flows and at the same times.
 * @throws ERR_CONFIG with the rule for which it does not
 */
export function checkRebinds(up: ImpairOptions, down: ImpairOptions): void {
  const of = (stages: readonly NamedStage[]) => stages.find(({ kind }) => kind === 'rebind');
  const pipelines = ({ stages, rules, timeline }: ImpairOptions) => [
    stages,
    ...rules.map((rule) => rule.stages),
    ...timeline.flatMap((change) => [change.stages, ...change.rules.map((rule) => rule.stages)]),
  ];
  if (![...pipelines(up), ...pipelines(down)].some((stages) => stages && of(stages))) return;
  const times = new Set([0, ...[...up.timeline, ...down.timeline].map(({ at }) => at)]);
  for (const time of times) {
    const [there, back] = [up, down].map((options) => {
      const { stages, rules } = arrangementAt(options, time);
      return new Map([
        ['default', of(stages)],
        ...rules.map((rule) => [rule.label, of(rule.stages)] as const),
      ]);
    });
    for (const label of new Set([...there.keys(), ...back.keys()])) {
      const [a, b] = [there.get(label), back.get(label)].map(
        (stage) => stage && { ...stage, name: undefined },
      );
      if (sameJson(a, b)) continue;
      const where = label === 'default' ? '' : ` of "${label}"`;
      throw configError(`found rebind${where} in one direction, expected the same one in both`);
    }
  }
}
