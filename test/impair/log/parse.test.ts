import { describe, expect, it } from 'vitest';
import { parseVerdicts, placeOf } from '../../../src/impair/log/parse.ts';

const HEAD = '{"event":"log","version":1,"direction":"up","seed":1}';
const FLOW = '{"event":"flow","flow":"up:1","is":"other"}';
const came = (n: number, at = 0, flow = 'up:1') =>
  `{"event":"in","at":${at},"flow":"${flow}","n":${n},"bytes":60}`;
const left = (n: number, at = 0, flow = 'up:1') => `{"event":"out","at":${at},"flow":"${flow}","n":${n}}`;
const parse = (...lines: string[]) => parseVerdicts(lines.join('\n'));

describe('a verdict log', () => {
  it('is read as what each wire packet waited, once for each time it left', () => {
    const drop = '{"event":"drop","at":5,"flow":"up:1","n":6,"stage":"up/default/loss","why":"loss"}';
    const copy = '{"event":"out","at":9,"flow":"up:1","n":5,"copy":"1f"}';
    const log = parse(HEAD, FLOW, came(5, 1), left(5, 4), came(6, 5), drop, copy, came(7, 6), '');
    expect([...log.keys()]).toEqual(['up other']);
    const [flow] = log.get('up other')!;
    expect(Array.from(flow.numbers)).toEqual([5, 6, 7]);
    expect(Array.from(flow.known)).toEqual([1, 1, 0]);
    expect(Array.from(flow.first)).toEqual([0, 2, 2, 2]);
    expect(Array.from(flow.delays)).toEqual([3, 8]);
  });

  it('may lack lines: what is not named is left out, and a flow that is named again goes on', () => {
    const again = '{"event":"flow","flow":"up:2","is":"other"}';
    const lost = '{"event":"lost","direction":"up","lines":9}';
    const log = parse(
      HEAD,
      FLOW,
      came(1),
      left(1, 3),
      left(2),
      lost,
      again,
      came(9, 0, 'up:2'),
      left(1, 1, 'up:8'),
    );
    expect(log.get('up other')!.map(({ numbers }) => Array.from(numbers))).toEqual([[1, 9]]);
  });

  it('tells a flow that was forgotten from the one of the same name that came back', () => {
    const again = '{"event":"flow","flow":"up:2","is":"other"}';
    const log = parse(HEAD, FLOW, came(1), came(2), again, came(1, 5, 'up:2'));
    expect(log.get('up other')!.map(({ numbers }) => Array.from(numbers))).toEqual([[1, 2], [1]]);
  });

  it('may be several, one behind the other', () => {
    const log = parse(HEAD, FLOW, came(1), came(2), HEAD, FLOW, came(1), came(2), came(3));
    expect(log.get('up other')!.map(({ numbers }) => numbers.length)).toEqual([2, 3]);
  });

  it('may end in the middle of a line', () => {
    expect(parse(HEAD, FLOW, came(1), '{"event":"ou').get('up other')![0].known).toEqual(Uint8Array.of(0));
  });

  it.each([
    [[''], 'it is empty'],
    [[FLOW], 'line 1: found {"event":"flow"'],
    [['{"event":"log","version":2}'], 'expected version 1'],
    [[HEAD, 'x', ''], 'line 2: found x, expected JSON'],
    [[HEAD, 'null'], 'expected an object'],
    [[HEAD, '{"event":"tea"}'], 'expected an event'],
    [[HEAD, '{"event":"flow","flow":"1","is":"other"}'], 'expected a flow such as "up:1"'],
    [[HEAD, FLOW, came(0)], 'expected flow, n and at'],
    [[HEAD, FLOW, came(2), came(2)], 'expected numbers that rise'],
    [[HEAD, FLOW, came(2, 9), left(2, 8)], 'expected a time that is not before it came'],
  ])('is refused when it is %j', (lines, message) => {
    expect(() => parse(...lines)).toThrow(message);
  });
});

it('a number is found where there are gaps too', () => {
  const numbers = [3, 4, 8, 9, 20];
  expect([2, 3, 4, 5, 8, 9, 19, 20, 21].map((n) => placeOf(numbers, n))).toEqual([
    -1, 0, 1, -1, 2, 3, -1, 4, -1,
  ]);
  expect(placeOf([], 1)).toBe(-1);
});
