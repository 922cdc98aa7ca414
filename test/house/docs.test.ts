import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { filesUnder, read, root } from './sources.ts';

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...['docs', 'examples', 'bench']
    .filter((each) => existsSync(path.join(root, each)))
    .flatMap((each) => filesUnder(each, '.md')),
];

/** What a reader of the published pages cannot use: one machine's paths, and promises. */
const FORBIDDEN = [
  /(?<![\w.])\/(?:work|root|Users)\/\w[^\s)`]*/,
  /(?<![\w.])\/home\/(?!you\b|user\b|alice\b|bob\b)\w[^\s)`]*/,
  /\b(?:TODO|FIXME|XXX|TBD)\b/,
  /\bnot (?:yet )?implemented\b/i,
  /\bcoming soon\b/i,
  /\b(?:issue|ticket) #?\d+\b/i,
];

/** Headings of a page as GitHub makes anchors of them. */
const anchors = (text: string) =>
  [...text.matchAll(/^#+\s+(.+)$/gm)].map((found) =>
    found[1]!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-'),
  );

describe('the public pages', () => {
  it.each(pages)('%s speaks of the project alone and promises nothing', (page) => {
    const text = read(page);
    expect(FORBIDDEN.map((pattern) => pattern.exec(text)?.[0]).filter(Boolean)).toEqual([]);
  });

  it.each(pages)('%s has links that lead somewhere', (page) => {
    const links = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map((found) => found[1]!);
    const broken = links
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [file = '', anchor] = link.split('#');
        const target = file === '' ? page : path.posix.join(path.posix.dirname(page), file);
        if (!existsSync(path.join(root, target))) return true;
        return anchor !== undefined && target.endsWith('.md') && !anchors(read(target)).includes(anchor);
      });
    expect(broken).toEqual([]);
  });

  it('find a forbidden word when there is one', () => {
    const bad = ['see /Users/me', 'TODO: later', 'not yet implemented', 'fixes issue #12', '/home/me/x'];
    expect(bad.filter((text) => !FORBIDDEN.some((pattern) => pattern.test(text)))).toEqual([]);
    expect(FORBIDDEN.some((pattern) => pattern.test('GET /api/work/1, /home/user/a, an issue'))).toBe(false);
  });

  it('the lockfile names no registry', () => {
    expect(read('package-lock.json')).not.toContain('"resolved"');
  });
});
