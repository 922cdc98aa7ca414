import { describe, expect, it } from 'vitest';
import { parseSpec } from '../../../src/impair/spec/file.ts';
import { PRESET_NAMES } from '../../../src/impair/spec/presets.ts';
import { compileSpec } from '../../../src/impair/spec/spec.ts';

describe('a spec', () => {
  it('as text is what packets pass each way', () => {
    expect(compileSpec('delay 50ms loss 1%')).toEqual({
      up: { direction: 'up', stages: 'delay 50ms loss 1%', rules: [], timeline: [] },
      down: { direction: 'down', stages: 'delay 50ms loss 1%', rules: [], timeline: [] },
    });
  });

  it('as YAML has both directions, rules and times', () => {
    const { up, down } = parseSpec(`
      seed: 7
      both: delay 10ms
      down:
        - { kind: delay, time: 20ms, jitter: 1ms }
        - loss 1%
      rules:
        - label: dns
          match: '*:udp:53'
          up: loss 20%
        - label: video
          match: { remote: 10.0.0.0/8, protocol: tcp, port: 80-90, dscp: af41 }
          both: delay 1ms
      timeline:
        - { at: 10s, down: pass }
        - at: 20s
          rules:
            - { label: dns, both: loss 30% }
            - { label: web, match: '*:tcp:443', down: delay 5ms }
          remove: [video]
    `);
    const video = { remote: '10.0.0.0/8', protocol: 'tcp', port: '80-90', dscp: 'af41' };
    expect(up).toEqual({
      seed: 7,
      direction: 'up',
      stages: 'delay 10ms',
      rules: [
        { label: 'dns', match: '*:udp:53', stages: 'loss 20%' },
        { label: 'video', match: video, stages: 'delay 1ms' },
      ],
      timeline: [
        { at: '10s', rules: [], remove: [] },
        { at: '20s', rules: [{ label: 'dns', stages: 'loss 30%' }], remove: ['video'] },
      ],
    });
    expect(down).toEqual({
      seed: 7,
      direction: 'down',
      stages: [{ kind: 'delay', time: '20ms', jitter: '1ms' }, 'loss 1%'],
      rules: [{ label: 'video', match: video, stages: 'delay 1ms' }],
      timeline: [
        { at: '10s', stages: 'pass', rules: [], remove: [] },
        {
          at: '20s',
          rules: [
            // Nothing was said of it in this direction before.
            { label: 'dns', match: '*:udp:53', stages: 'loss 30%' },
            { label: 'web', match: '*:tcp:443', stages: 'delay 5ms' },
          ],
          remove: ['video'],
        },
      ],
    });
  });

  it.each([
    ['up: [', 'f.yaml:1:6: '],
    ['updown: 3', 'f.yaml: found the unknown key "updown", expected one of both, up, down'],
    ['up: delay 50', 'f.yaml: up: found "delay 50", delay: found "50" behind "delay", expected a time'],
    ['down: [loss 1%, delay]', 'f.yaml: down.1: found "delay", delay: found the end'],
    ['down: [{ kind: delay, time: 5 s s }]', 'f.yaml: down.0.time: found "5 s s", expected a time'],
    ['rules: [{ label: a b, match: "*", up: pass }]', 'f.yaml: rules.0.label: found "a b", expected letters'],
    ['rules: [{ label: a, match: "*:x", up: pass }]', 'f.yaml: rules.0.match.protocol: found "*:x"'],
    [
      'rules: [{ label: a, match: "*", down: pass }, { label: b, match: "*", both: [{ kind: mtu, mtu: 1 }] }]',
      'f.yaml: rules.1.both.0.mtu: found 1, expected at least 68 bytes',
    ],
    [
      'both: [delay 1ms loss 1%, { kind: mtu, mtu: 68, answers: true }]',
      'f.yaml: both.1: found the unknown key "answers"',
    ],
    [
      'up: [delay 1ms loss 1%, delay 2ms name delay]',
      'f.yaml: up.1.name: found "delay 2ms name delay", expected a name',
    ],
    ['preset: 9g', 'f.yaml: preset: found "9g", expected one of dial, edge'],
    ['timeline: [{ at: 1s, remove: [x] }]', 'f.yaml: timeline.0.remove.0: found "x", expected a rule'],
    ['timeline: [{ at: 1s, rules: [{ label: x, up: pass }] }]', 'timeline.0.rules.0.match: found undefined'],
    ['timeline: [{ at: soon }]', 'f.yaml: timeline.0.at: found "soon", expected a time'],
    ['seed: -1', 'f.yaml: seed: found -1'],
  ])('that is wrong says where, what was found and what was expected: %s', (text, message) => {
    expect(() => parseSpec(text, 'f.yaml')).toThrow(message);
  });
});

describe('presets', () => {
  it.each(PRESET_NAMES)('%s is a link each way', (preset) => {
    const { up, down } = compileSpec({ preset });
    expect([up.stages, down.stages].every((stages) => String(stages).includes('rate '))).toBe(true);
  });

  it('give what a spec does not say', () => {
    const { up, down } = compileSpec({ preset: '3g', up: 'pass', rules: [] });
    expect([up.stages, down.stages]).toEqual(['pass', 'rate 1.6mbit delay 150ms']);
    expect(compileSpec({ up: { preset: 'lte' } })).toMatchObject({
      up: { stages: 'rate 12mbit delay 35ms' },
      down: { stages: [] },
    });
  });
});

describe('the spec of a deployment', () => {
  const qos = { rate: 0, loss: 0, latency: 0, jitter: 0, jitter_strength: 0, reorder_packets: false };
  const text = JSON.stringify({
    default_link: {
      ingress: { ...qos, rate: 10_000_000 },
      egress: { ...qos, rate: 1_000_000, loss: 0.02, latency: 30, jitter: 7, jitter_strength: 0.25 },
    },
    flows: [
      {
        label: 'http',
        flow: { ip: 16777226, protocol: 6, port_min: 80, port_max: 80 },
        link: {
          ingress: { ...qos, rate: 100_000_000, jitter: 4, jitter_strength: 1.5, reorder_packets: true },
          egress: { ...qos, rate: 100_000_000 },
        },
      },
      {
        label: 'rest',
        flow: { ip: 0, protocol: 0, port_min: 0, port_max: 65535 },
        link: { ingress: { ...qos, rate: 1, loss: 3 }, egress: qos },
      },
    ],
  });
  const police = (rate: number) => ({ kind: 'police', rate, burst: '1s', framing: 'ethernet' });

  it('is taken as it is', () => {
    const { up, down } = parseSpec(text);
    const http = { remote: '10.0.0.1/32', protocol: 6, port: '80-80' };
    const rest = { remote: '0.0.0.0/0' };
    const random = { kind: 'loss', model: 'random' };
    const latency = { kind: 'delay', name: 'latency', time: '30ms' };
    const jitter = { kind: 'delay', name: 'jitter' };
    expect(up).toEqual({
      direction: 'up',
      stages: [
        police(1_000_000),
        { ...random, probability: 0.02 },
        latency,
        { ...jitter, time: '3.5ms', jitter: '3.5ms', share: 0.25, order: 'preserve' },
      ],
      rules: [
        { label: 'http', match: http, stages: [police(100_000_000)] },
        { label: 'rest', match: rest, stages: [{ ...random, probability: 1, name: 'no-rate' }] },
      ],
      timeline: [],
    });
    expect(down).toEqual({
      direction: 'down',
      stages: [police(10_000_000)],
      rules: [
        {
          label: 'http',
          match: http,
          stages: [police(100_000_000), { ...jitter, time: '2ms', jitter: '2ms', share: 1, order: 'allow' }],
        },
        { label: 'rest', match: rest, stages: [police(1), { ...random, probability: 1 }] },
      ],
      timeline: [],
    });
  });

  it.each([
    ['"label":"http"', '"label":"default"', 'flows.0.label: found "default", expected another name'],
    ['"label":"rest"', '"label":"http"', 'flows.1.label: found "http", expected one that no other has'],
    ['"latency":30', '"latency":"30ms"', 'default_link.egress.latency: found "30ms"'],
    ['"protocol":6', '"protocol":256', 'flows.0.flow.protocol: found 256'],
    ['"egress"', '"agress"', 'default_link.egress: found undefined'],
  ])('that is wrong says so: %s -> %s', (right, wrong, message) => {
    expect(() => parseSpec(text.replace(right, wrong), 'spec.json')).toThrow(message);
  });
});
