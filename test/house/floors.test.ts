import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { filesUnder, type Import, importsOf, parse } from './sources.ts';

/** From the ground up. Rooms on one floor do not know each other. */
const FLOORS = [
  ['errors'],
  ['native'],
  ['packet'],
  ['engine'],
  ['tun'],
  ['impair', 'tunnel', 'stack'],
  ['chain', 'deliver'],
  ['proxy', 'relay', 'pvd'],
  ['sim', 'control'],
  ['testing'], // anything below cli
  ['impaired'],
  ['index'], // anything but cli
  ['cli'],
];
const floorOf = (room: string) => FLOORS.findIndex((rooms) => rooms.includes(room));
/** The room of `src/packet/ip.ts` is packet, that of `src/errors.ts` errors. */
const roomOf = (file: string) => file.split('/')[1]!.replace(/\.ts$/, '');

/** Why `file` may not import `target`, or undefined when it may. */
function objection(file: string, target: string): string | undefined {
  const [from, to] = [roomOf(file), roomOf(target)];
  if (from === to) return undefined;
  if (floorOf(to) < 0) return `${file}: imports ${target}, a room that has no floor`;
  return floorOf(to) < floorOf(from) ? undefined : `${file}: imports ${target}, which is not below ${from}`;
}

const relative = (file: string, { specifier }: Import) =>
  path.posix.join(path.posix.dirname(file), specifier);

/** The first import cycle that a depth-first walk meets, as a path that ends where it began. */
function findCycle(graph: Map<string, string[]>): string[] | undefined {
  const done = new Set<string>();
  const walk = (file: string, trail: string[]): string[] | undefined => {
    const start = trail.indexOf(file);
    if (start >= 0) return [...trail.slice(start), file];
    if (done.has(file)) return undefined;
    for (const next of graph.get(file) ?? []) {
      const cycle = walk(next, [...trail, file]);
      if (cycle) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of graph.keys()) {
    const cycle = walk(file, []);
    if (cycle) return cycle;
  }
  return undefined;
}

/** Who imports whom under `room`: of a folder in it all files are one; files at its top are each their own. */
function folderGraph(room: string, graph: readonly (readonly [string, string[]])[]): Map<string, string[]> {
  const inside = (file: string) => file.startsWith(`${room}/`);
  const placeOf = (file: string) => file.slice(room.length + 1).split('/')[0]!;
  const places = new Map<string, string[]>();
  for (const [file, targets] of graph.filter(([each]) => inside(each))) {
    const from = placeOf(file);
    const others = targets
      .filter(inside)
      .map(placeOf)
      .filter((to) => to !== from);
    places.set(from, [...(places.get(from) ?? []), ...others]);
  }
  return places;
}

const files = filesUnder('src', '.ts');
const imports = new Map(files.map((file) => [file, importsOf(parse(file))]));
const local = (each: Import) => each.specifier.startsWith('.');

describe('the house', () => {
  it('gives every room of src a floor', () => {
    expect(files.length).toBeGreaterThan(0);
    expect(files.filter((file) => floorOf(roomOf(file)) < 0)).toEqual([]);
  });

  it('lets a floor import only floors below it', () => {
    const objections = files.flatMap((file) =>
      imports
        .get(file)!
        .filter(local)
        .map((each) => objection(file, relative(file, each))),
    );
    expect(objections.filter((each) => each !== undefined)).toEqual([]);
  });

  it('has relative imports with their extension, to files that exist', () => {
    const lost = files.flatMap((file) =>
      imports
        .get(file)!
        .filter(local)
        .map((each) => relative(file, each))
        .filter((target) => !files.includes(target))
        .map((target) => `${file} -> ${target}`),
    );
    expect(lost).toEqual([]);
  });

  it('has no import cycle between files', () => {
    const graph = new Map(
      files.map((file) => [
        file,
        imports
          .get(file)!
          .filter((each) => local(each) && !each.typeOnly)
          .map((each) => relative(file, each)),
      ]),
    );
    expect(findCycle(graph)).toBeUndefined();
  });

  it('has no import cycle between the folders of sim, types included', () => {
    const folders = folderGraph(
      'src/sim',
      files.map((file) => [
        file,
        imports
          .get(file)!
          .filter(local)
          .map((each) => relative(file, each)),
      ]),
    );
    expect(folders.size).toBeGreaterThan(1);
    expect(findCycle(folders)).toBeUndefined();
  });
});

describe('the checks of this file', () => {
  it('refuse the way up, the neighbour and the unknown room', () => {
    expect(objection('src/packet/ip.ts', 'src/engine/pool.ts')).toContain('not below packet');
    expect(objection('src/tunnel/a.ts', 'src/stack/b.ts')).toContain('not below tunnel');
    expect(objection('src/index.ts', 'src/cli/main.ts')).toContain('not below index');
    expect(objection('src/cli/main.ts', 'src/attic/b.ts')).toContain('no floor');
    expect(objection('src/engine/pool.ts', 'src/packet/ip.ts')).toBeUndefined();
    expect(objection('src/engine/pool.ts', 'src/engine/link.ts')).toBeUndefined();
  });

  it('find a cycle', () => {
    const graph = new Map([
      ['a', ['b', 'c']],
      ['b', []],
      ['c', ['d']],
      ['d', ['c']],
    ]);
    expect(findCycle(graph)).toEqual(['c', 'd', 'c']);
  });

  it('see a folder as one, with the files at the top beside it', () => {
    const graph = folderGraph('src/sim', [
      ['src/sim/a/x.ts', ['src/sim/a/y.ts', 'src/sim/b/z.ts', 'src/engine/link.ts']],
      ['src/sim/a/y.ts', ['src/sim/top.ts']],
      ['src/sim/b/z.ts', []],
      ['src/sim/top.ts', ['src/sim/a/x.ts']],
      ['src/cli/sim.ts', ['src/sim/top.ts']],
    ]);
    expect([...graph]).toEqual([
      ['a', ['b', 'top.ts']],
      ['b', []],
      ['top.ts', ['a']],
    ]);
    expect(findCycle(graph)).toEqual(['a', 'top.ts', 'a']);
  });

  it('see every form of import', () => {
    const text = `
      import a from './a.ts'; import type { B } from './b.ts'; import { type C } from './c.ts';
      export * from './d.ts'; const e = await import('./e.ts'); let f: import('./f.ts').F; import './g.ts';`;
    expect(importsOf(parse('x.ts', text))).toEqual([
      { specifier: './a.ts', typeOnly: false },
      { specifier: './b.ts', typeOnly: true },
      { specifier: './c.ts', typeOnly: true },
      { specifier: './d.ts', typeOnly: false },
      { specifier: './e.ts', typeOnly: true },
      { specifier: './f.ts', typeOnly: true },
      { specifier: './g.ts', typeOnly: false },
    ]);
  });
});
