/** Simulations in files: what they say, what runs of them, and how mistakes in them are told. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { TunconnectorError } from '../../src/errors.ts';
import { loadSimulation, parseSimulation, Simulation } from '../../src/sim/index.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'sim-file-'));
afterAll(() => rmSync(directory, { recursive: true }));

function written(name: string, text: string): string {
  const file = path.join(directory, name);
  writeFileSync(file, text);
  return file;
}

const LAB = `
seed: 3
for: 2s
hosts:
  a:
  b: { program: { module: ./said.mjs, export: say, options: { word: hello } } }
routers: { r: {} }
links:
  left: { between: [a 10.0.1.1/24 fd01::1/64, r 10.0.1.254/24 fd01::254/64], impair: delay 10ms }
  right: { between: [{ host: r, addresses: [10.0.2.254/24] }, b 10.0.2.1/24], impair: { both: delay 20ms } }
faults:
  - { at: 1s, down: left }
`;

describe('a simulation in a file', () => {
  it('has hosts, routers, links, faults, and programs from modules beside it', async () => {
    written('said.mjs', 'export const say = (host, { word }) => host.log(host.name + " says " + word);');
    const { topology, options, time } = await loadSimulation(written('lab.yaml', LAB));
    expect(time).toBe(2e9);
    await using sim = await Simulation.start({ ...topology, seed: 9 }, options);
    const ping = sim.host('a').stack.ping('10.0.2.1');
    await sim.run(time);
    expect(await ping).toMatchObject({ result: 'reply', time: 60e6 });
    expect(sim.log.map(({ text }) => text)).toEqual(['b says hello', 'link left is down']);
    expect(sim.runtime.seed).toBe(9);
  });

  it.each([
    ['hosts: {', /^lab:1:9: /],
    ['[]', 'lab: found [], expected hosts and links'],
    ['link: {}', /^lab: found the unknown key "link", expected one of .*links/],
    ['for: soon', 'lab: for: found "soon", expected a time such as 50ms'],
    ['hosts: { a: { forward: maybe } }\nlinks: {}', 'lab: hosts.a.forward: found "maybe"'],
    [
      'hosts: { a: { program: 7 } }\nlinks: {}',
      'lab: hosts.a.program: found 7, expected the path of a module',
    ],
    ['hosts: { a: {} }\nrouters: { a: {} }\nlinks: {}', 'lab: routers.a: found the name of a host'],
    [
      'hosts: { a: {}, b: {} }\nlinks: { l: { between: [a 10.0.0.1/24, c 10.0.0.2/24] } }',
      'lab: links.l.between.1: found "c", expected one of the hosts',
    ],
    [
      'hosts: { a: {}, b: {} }\nlinks: { l: { between: [a, b 10.0.0.2/24] } }',
      'lab: links.l.between.0: found no',
    ],
    [
      'hosts: { a: {}, b: {} }\nlinks: { l: { between: [a 10.0.0.1/24, b 10.0.0.2/24], impair: dellay 3ms } }',
      'lab: links.l.impair: found "dellay"',
    ],
    ['links: {}\nfaults: [{ at: 1s, down: x }]', 'lab: faults.0.down: found "x", expected one of the links'],
  ])('tells what is wrong in %j', (text, message) => {
    expect(() => parseSimulation(text, 'lab')).toThrow(message);
  });

  it('tells whose program does not take its options', async () => {
    written(
      'strict.mjs',
      'export default () => { throw new SimTestError("ERR_CONFIG", "found the key x"); };',
    );
    vi.stubGlobal('SimTestError', TunconnectorError);
    const lab = 'hosts: { a: { program: ./strict.mjs } }';
    const { topology, options } = await loadSimulation(written('strict.yaml', lab));
    await expect(Simulation.start(topology, options)).rejects.toThrow(
      /strict\.yaml: program of a: found the key x$/,
    );
    vi.unstubAllGlobals();
  });

  it('tells which program does not load, and what a module has instead', async () => {
    const lab = (program: string) => `hosts: { a: { program: ${program} } }\nlinks: {}`;
    await expect(loadSimulation(path.join(directory, 'none.yaml'))).rejects.toThrow(
      /none\.yaml: cannot be read \(ENOENT\)/,
    );
    await expect(loadSimulation(written('b.yaml', lab('./none.mjs')))).rejects.toThrow(
      /b\.yaml: program of a: found "\.\/none\.mjs", expected a module that loads: Cannot find/,
    );
    written('other.mjs', 'export const one = () => {};');
    await expect(loadSimulation(written('c.yaml', lab('./other.mjs')))).rejects.toThrow(
      /c\.yaml: program of a: found the export "default" of \.\/other\.mjs, expected one of one/,
    );
  });
});
