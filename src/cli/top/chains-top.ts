/** `tunconnector top --roulette`: the chains of a tenant, again and again. */
import { asError, type ConnectFlags, connect } from '../chain/connect.ts';
import { Exit } from '../exit.ts';
import { type ChainsSeen, chainsPicture, seeChains } from './chains.ts';
import { Pace } from './pace.ts';
import { Screen } from './screen.ts';
import { clock, headLine, isMoving, PLAIN_WIDTH, type Showing, type Terminal } from './top.ts';

/** @returns the exit code @throws what Roulette answered at first; later it is told, and looked again */
export async function topOfChains(
  flags: ConnectFlags,
  showing: Showing,
  terminal: Terminal,
): Promise<number> {
  const { output, input } = terminal;
  const pace = new Pace();
  const stop = () => pace.stop();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const connected = connect(flags);
  let screen: Screen | undefined;
  try {
    const client = await connected.client().catch(told);
    let seen = await seeChains(client).catch(told);
    for (const signal of signals) process.on(signal, stop);
    output.on('error', stop);
    if (isMoving(output, showing))
      screen = new Screen(output, input, { quit: stop, refresh: () => pace.hurry() });
    let note = '';
    while (!pace.stopped) {
      if (note === '' || screen) show(seen, note);
      if (showing.once) break;
      await pace.wait(showing.interval);
      if (pace.stopped) break;
      try {
        seen = await seeChains(client);
        note = '';
      } catch (error) {
        // It may come back: what was there is shown, and that it is of before.
        const why = asError(error);
        note = `no answer: ${why instanceof Error ? why.message : String(why)}`;
        if (!screen) say(note);
      }
    }
    return Exit.ok;
  } finally {
    screen?.close();
    for (const signal of signals) process.off(signal, stop);
    output.off('error', stop);
    connected.close();
  }

  function show(seen: ChainsSeen, note: string): void {
    const { chains, replicas, rates } = seen;
    if (showing.json) output.write(`${JSON.stringify(event('chains', { chains, replicas, rates }))}\n`);
    else if (screen) {
      const [what, time] = [chains.length === 1 ? '1 chain' : `${chains.length} chains`, clock()];
      screen.show((width) => [headLine(what, note, time, width), ...chainsPicture(seen, width)]);
    } else {
      const width = output.isTTY ? output.columns || PLAIN_WIDTH : PLAIN_WIDTH;
      const lines = chainsPicture(seen, width).map(({ text }) => text);
      output.write(`${[...(showing.once ? [] : [clock()]), ...lines].join('\n')}\n`);
    }
  }

  function say(note: string): void {
    output.write(
      showing.json ? `${JSON.stringify(event('silent', { reason: note }))}\n` : `${clock()} ${note}\n`,
    );
  }
}

const event = (name: string, details: object) => ({
  time: new Date().toISOString(),
  event: name,
  ...details,
});

const told = (error: unknown): never => {
  throw asError(error);
};
