/** Lets promises of programs go on before the next event: one turn of Node's loop, in which no time passes. */
export const drained = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
