/**
 * Several captures at once. A link (and the pool, for drops) has room for one witness; here they become one that calls
 * each in turn. One that somebody set by hand stays, as the first.
 */

type Witness = (handle: number, reason: number, actor: number) => void;

interface Observed {
  witness: Witness | null;
}

interface Known {
  witnesses: readonly Witness[];
  /** What was put on the link for them. */
  installed: Witness | null;
}

const known = new WeakMap<Observed, Known>();

/** Adds a witness to a link or a pool; returns how to take it away again. */
export function addWitness(observed: Observed, witness: Witness): () => void {
  const { witnesses, installed } = known.get(observed) ?? { witnesses: [], installed: null };
  const byHand = observed.witness !== null && observed.witness !== installed ? [observed.witness] : [];
  install(observed, [...byHand, ...witnesses.filter((each) => !byHand.includes(each)), witness]);
  return () => {
    const now = known.get(observed);
    if (now)
      install(
        observed,
        now.witnesses.filter((each) => each !== witness),
      );
  };
}

/** The list is never changed in place: a witness may take itself away while it is called. */
function install(observed: Observed, witnesses: readonly Witness[]): void {
  const installed =
    witnesses.length === 0 ? null : witnesses.length === 1 ? witnesses[0]! : callAll(witnesses);
  observed.witness = installed;
  known.set(observed, { witnesses, installed });
}

function callAll(witnesses: readonly Witness[]): Witness {
  return (handle, reason, actor) => {
    for (let i = 0; i < witnesses.length; i++) witnesses[i]!(handle, reason, actor);
  };
}
