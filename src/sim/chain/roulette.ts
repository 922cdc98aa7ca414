/** Roulette as the program of a simulated host: its registry is on the host's disk, and members come over channels. */
import { z } from 'zod';
import { writtenMatchSchema } from '../../chain/classifier/match.ts';
import { chooser } from '../../chain/placement.ts';
import { openEmbeddedStore } from '../../chain/roulette/embedded/embedded-store.ts';
import { chainFunctions, functionName, spi, tenantId } from '../../chain/roulette/model/schema.ts';
import { Prober } from '../../chain/roulette/prober.ts';
import { Roulette } from '../../chain/roulette/roulette.ts';
import type { Stream } from '../../chain/roulette/watch/feed.ts';
import { checkOptions } from '../../engine/options.ts';
import type { Listener } from '../../engine/outside.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import type { SimHost } from '../network/host.ts';
import { decode, encode } from './messages.ts';

const BUFFER = 1 << 20;
/** ns from one look to the next at whether the registry has been read. */
const LOOK = 10 * MILLISECOND;

const schema = z.strictObject({
  listen: z.string().default('0.0.0.0:7590'),
  tenant: tenantId,
  functions: z.array(functionName).default([]),
  /** By number: functions in order. */
  chains: z.record(z.string(), chainFunctions).default({}),
  rules: z
    .array(z.strictObject({ name: functionName, match: writtenMatchSchema, chain: spi.nullable() }))
    .default([]),
});

export type RouletteProgramOptions = z.input<typeof schema>;

/**
 * The registry of service chains. What of the tenant is not there yet is made at the start.
 *
 * @throws ERR_CONFIG
 * @example programs: { roulette: (host) => rouletteProgram(host, { tenant: 42, functions: ['fw'], chains: { 7: ['fw'] }, rules: [{ name: 'all', match: {}, chain: 7 }] }) }
 */
export function rouletteProgram(host: SimHost, options: RouletteProgramOptions): void {
  const checked = checkOptions(schema, options);
  const { runtime } = host;
  openEmbeddedStore(runtime, {}, (error, store) => {
    if (error || !store) throw error;
    const prober = new Prober(runtime);
    const roulette = new Roulette(runtime, store, {
      choose: chooser(),
      probe: prober.probe,
      match: writtenMatchSchema,
      log: ({ event, ...rest }) => host.log(`${event} ${JSON.stringify(rest)}`),
    });
    host.onStop(async () => {
      roulette.close();
      prober.close();
      store.close();
    });
    const whenRead = () => {
      if (!roulette.isReady) {
        runtime.timer(runtime.now() + LOOK, whenRead);
        return;
      }
      declare(roulette, checked, () => serve(runtime, checked.listen, () => roulette));
    };
    whenRead();
  });
}

/** One after the other, for each needs those before it. */
function declare(
  roulette: Roulette,
  { tenant, functions, chains, rules }: z.output<typeof schema>,
  done: () => void,
): void {
  const parts: [name: string, body: object][] = [
    ['tenant.put', {}],
    ...functions.map((name): [string, object] => ['function.put', { name }]),
    ...Object.entries(chains).map(([number, names]): [string, object] => [
      'chain.put',
      { spi: Number(number), functions: names },
    ]),
    ...(rules.length > 0 ? [['classifier.put', { rules }] as [string, object]] : []),
  ];
  const next = (): void => {
    const part = parts.shift();
    if (!part) {
      done();
      return;
    }
    const [name, body] = part;
    roulette.request(tenant, name, { ...body, ifRev: 0 }, (error) => {
      // It is there, perhaps changed: it stays as it is.
      if (error && error.code !== 'ERR_REVISION') throw error;
      next();
    });
  };
  next();
}

interface Asked {
  t?: string;
  id: number;
  tenant: number;
  name: string;
  body: unknown;
}

/**
 * Members that come over channels. @param roulette the one that is there when they come; without one that is ready they are refused
 * @param bufferLimit bytes on their way to one of them
 */
export function serve(
  runtime: Pick<Runtime, 'listen'>,
  bind: string,
  roulette: () => Roulette,
  bufferLimit = BUFFER,
): Listener {
  return runtime.listen(
    bind,
    {
      onChannel: (channel) => {
        const served = roulette();
        if (!served.isReady) return undefined;
        let stream: Stream | undefined;
        return {
          onMessage: (bytes) => {
            const { tenant, ...asked } = decode(bytes) as Asked;
            if (asked.t === 'watch') {
              const send = (message: object) => channel.send(encode(message));
              stream = served.watch(tenant, asked, { send, onEnd: () => channel.close() });
              return;
            }
            served.request(tenant, asked.name, asked.body, (error, answer) => {
              const told = error && { code: error.code, message: error.message };
              // Who asks has to hear: without an answer they ask again, on another channel.
              if (!channel.send(encode({ id: asked.id, error: told, answer }))) channel.close();
            });
          },
          onDrain: () => stream?.resume(),
          onClose: () => stream && served.endWatch(stream),
        };
      },
      onError: (error) => {
        throw error instanceof TunconnectorError ? error : new TunconnectorError('ERR_SOCKET', String(error));
      },
    },
    { bufferLimit },
  );
}
