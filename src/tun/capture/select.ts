/** Which links a capture looks at: by name, as people write them. */
import { configError } from '../../engine/config.ts';

/**
 * One pattern or several: `all`; a link as `tun0.out -> delay.in`, in which `*` stands for anything; `tun0.out`, either
 * end of a link; `tun0`, every link of an app.
 */
export type LinkSelector = string | readonly string[];

/**
 * Tells whether a link of this name is meant. What an inserted cutting app puts out is meant only by a pattern that
 * begins with `cut:`; else each packet would be captured twice. Throws ERR_CONFIG for an empty selector.
 */
export function linkMatcher(selector: LinkSelector): (link: string) => boolean {
  const patterns = (typeof selector === 'string' ? selector.split(',') : selector)
    .map((each) => each.trim())
    .filter((each) => each !== '');
  if (patterns.length === 0) throw configError('links: found nothing, expected "all" or the names of links');
  const tests = patterns.map(one);
  return (link) =>
    tests.some((test, n) => test(link) && (!link.startsWith('cut:') || patterns[n]!.startsWith('cut:')));
}

function one(pattern: string): (link: string) => boolean {
  if (pattern === 'all') return () => true;
  const ends = pattern.split('->').map((each) => glob(each.trim()));
  if (ends.length === 2) {
    return (link) => split(link).every((end, n) => ends[n]!.test(end));
  }
  if (ends.length > 2) throw configError(`links: found "${pattern}", expected one "->" at most`);
  const [wanted] = ends;
  return (link) => split(link).some((end) => wanted!.test(end) || wanted!.test(end.split('.')[0]!));
}

const split = (link: string) => link.split(' -> ');

/** `*` matches any text. Linear in the text for each star, whatever the pattern. */
function glob(pattern: string): { test(text: string): boolean } {
  const parts = pattern.split('*');
  if (parts.length === 1) return { test: (text) => text === pattern };
  const first = parts[0]!;
  const last = parts.at(-1)!;
  const middle = parts.slice(1, -1);
  return {
    test(text) {
      if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last))
        return false;
      let at = first.length;
      const end = text.length - last.length;
      for (const part of middle) {
        const found = text.indexOf(part, at);
        if (found < 0 || found + part.length > end) return false;
        at = found + part.length;
      }
      return true;
    },
  };
}
