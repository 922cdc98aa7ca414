/** One process of `exploreModule`: runs the seeds that it is told, one at a time. */
import { TunconnectorError } from '../../errors.ts';
import { exploreSeed, type Scenario } from './explore.ts';
import type { FromRunner, ScenarioModule, ToRunner } from './messages.ts';

type Make = (options: unknown) => ((seed: number) => Scenario) | Promise<(seed: number) => Scenario>;

const say = (message: FromRunner) => void process.send!(message);

let scenario: (seed: number) => Scenario;
let tries = 0;

async function load({ module, export: name = 'default', options }: ScenarioModule): Promise<void> {
  let loaded: Record<string, unknown>;
  try {
    loaded = await import(module);
  } catch (error) {
    const why = (error as Error).message.split('\n')[0];
    throw new TunconnectorError('ERR_CONFIG', `${module} does not load: ${why}`);
  }
  const make = loaded[name];
  if (typeof make !== 'function')
    throw new TunconnectorError('ERR_CONFIG', `${module} exports no function "${name}"`);
  scenario = await (make as Make)(options);
}

async function take(message: ToRunner): Promise<void> {
  if ('scenario' in message) {
    tries = message.tries;
    await load(message.scenario);
    return say({ ready: true });
  }
  const { events, failure } = await exploreSeed(scenario, message.seed, tries, {
    onDrawn: (drawn) => say({ drawn }),
    onFailing: () => say({ failing: true }),
  });
  say({ events, failure });
}

process.on('message', (message: ToRunner) => {
  take(message).catch((error: unknown) => {
    const code = error instanceof TunconnectorError ? error.code : undefined;
    say({ refused: { code, message: error instanceof Error ? error.message : String(error) } });
  });
});
// Whoever asked is gone, or ends it: Ctrl-C is for that one.
process.on('disconnect', () => process.exit());
process.on('SIGINT', () => {});
