import { describe, expect, it } from 'vitest';
import { parseStages } from '../../../src/impair/spec/text.ts';

describe('the text of a pipeline', () => {
  it('has the words of netem, and stages in their order', () => {
    expect(parseStages('delay 50ms 5ms 25% distribution normal loss 1% 10%')).toEqual([
      { kind: 'delay', time: '50ms', jitter: '5ms', correlation: '25%', distribution: 'normal' },
      { kind: 'loss', model: 'random', probability: '1%', correlation: '10%' },
    ]);
  });

  it('takes keys in any order, and names', () => {
    expect(parseStages('delay 1ms limit 20 name first order allow loss random 0.5% scope link')).toEqual([
      { kind: 'delay', time: '1ms', limit: 20, name: 'first', order: 'allow' },
      { kind: 'loss', model: 'random', probability: '0.5%', scope: 'link' },
    ]);
  });

  it('is `pass` for a pipeline that does nothing', () => {
    expect(parseStages(' pass ')).toEqual([]);
  });

  it.each([
    ['', 'found the end, expected one of '],
    ['fly 3ms', 'found "fly", expected one of '],
    ['delay', 'delay: found the end behind "delay", expected a time such as 50ms'],
    ['delay 100', 'delay: found "100" behind "delay", expected a time such as 50ms'],
    // tc reads it as 1 %, as a probability it is everything.
    ['loss 1', 'loss: found "1" behind "loss", expected a share such as 1%'],
    ['delay 5ms order up', 'delay: found "up" behind "5ms order", expected one of preserve, allow'],
    ['delay 5ms limit 3 limit 4', 'delay: found "limit" behind "limit 3", expected "limit" only once'],
    ['delay 5ms 3 loss 1%', 'found "3" behind "delay 5ms", expected one of '],
    ['pass delay 5ms', 'found "delay" behind "pass", expected nothing'],
  ])('says of %j what was found and expected', (text, message) => {
    expect(() => parseStages(text)).toThrow(message);
  });
});
