/** Names that tell the stages of a pipeline apart. */

/** A stage without a name is called after its kind: `delay`, the next `delay-2`. */
export function withNames<Stage extends { kind: string; name?: string }>(
  stages: readonly Stage[],
): (Stage & { name: string })[] {
  const seen = new Map<string, number>();
  return stages.map((stage) => {
    const nth = (seen.get(stage.kind) ?? 0) + 1;
    seen.set(stage.kind, nth);
    return { ...stage, name: stage.name ?? (nth === 1 ? stage.kind : `${stage.kind}-${nth}`) };
  });
}
