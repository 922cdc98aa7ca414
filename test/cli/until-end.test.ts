import { afterEach, expect, it } from 'vitest';
import { type Ending, untilEnd } from '../../src/cli/until-end.ts';

let ending: Ending | undefined;
afterEach(() => ending?.forget());

const listeners = () =>
  (['SIGUSR2', 'uncaughtException', 'disconnect'] as const).map((event) => process.listenerCount(event));

it('a command ends in good order with the first of its signals', async () => {
  const before = listeners();
  ending = untilEnd(['SIGUSR2']);
  process.kill(process.pid, 'SIGUSR2');
  await expect(ending.promise).resolves.toBeUndefined();
  ending.forget();
  expect(listeners()).toEqual(before);
});

it('a command ends with a failure when it cannot go on', async () => {
  ending = untilEnd([]);
  ending.fail(new Error('the interface is gone'));
  await expect(ending.promise).rejects.toThrow('the interface is gone');
});

it('a command fails with what nobody caught, and does not die of it', async () => {
  const others = process.listeners('uncaughtException');
  ending = untilEnd([]);
  const own = process.listeners('uncaughtException').filter((listener) => !others.includes(listener));
  expect(own).toHaveLength(1);
  own[0]!(new Error('thrown in a timer'), 'uncaughtException');
  await expect(ending.promise).rejects.toThrow('thrown in a timer');
});

it('a command ends when the process that started it with a channel does', async () => {
  const others = process.listeners('disconnect');
  ending = untilEnd([]);
  const [own] = process.listeners('disconnect').filter((listener) => !others.includes(listener));
  own!();
  await expect(ending.promise).resolves.toBeUndefined();
});
