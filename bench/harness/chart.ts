/** The README's chart: bars of TCP throughput and of UDP packet rates, as an SVG that follows the reader's colours. */
import { formatFigure, unitOf } from './format.ts';
import { findSeries, type Quantity, type Result } from './result.ts';
import { median } from './stats.ts';

interface Panel {
  title: string;
  path: string;
  quantity: Quantity;
}

const SUITE = 'tunnel';
const PANELS: Panel[] = [
  { title: 'TCP between two hosts, Gbit/s', path: 'TCP v4', quantity: 'throughput' },
  { title: 'UDP packets of 64 bytes, thousand per second', path: 'UDP 64 B', quantity: 'packetRate' },
];

const WIDTH = 760;
const LABELS = 190;
const FIGURES = 70;
const BAR = 18;
const GAP = 8;
const TITLE = 34;
const MARGIN = 16;
const CAPTION = 30;

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .caption { font-size: 11px; fill: #57606a; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .caption { fill: #8d96a0; }
    .bar { fill: #6e7681; }
    .ours { fill: #4493f8; }
  }`;

interface Entry {
  subject: string;
  value: number;
}

/** @throws Error when the result has none of the figures that are drawn */
export function chart(result: Result): string {
  const panels = PANELS.map((panel) => ({ ...panel, entries: entriesOf(result, panel) })).filter(
    ({ entries }) => entries.length > 0,
  );
  if (panels.length === 0) throw new Error('there is nothing to draw: the result has no figures of `tunnel`');
  const parts: string[] = [];
  let y = MARGIN;
  for (const { title, quantity, entries } of panels) {
    parts.push(text(MARGIN, y + 16, title, 'title'));
    y += TITLE;
    const most = Math.max(...entries.map(({ value }) => value));
    for (const { subject, value } of entries) {
      const length = Math.max(1, (value / most) * (WIDTH - 2 * MARGIN - LABELS - FIGURES));
      const middle = y + BAR - 4;
      const kind = subject.startsWith('ours') ? 'ours' : 'bar';
      parts.push(
        text(MARGIN + LABELS - 10, middle, nameOf(subject), '', 'end'),
        `<rect class="${kind}" x="${MARGIN + LABELS}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" rx="2"/>`,
        text(MARGIN + LABELS + length + 6, middle, formatFigure(value, quantity)),
      );
      y += BAR + GAP;
    }
    y += GAP;
  }
  y += CAPTION - GAP;
  parts.push(text(MARGIN, y - 12, captionOf(result), 'caption'));
  const label = panels.map(({ title, quantity, entries }) => describe(title, quantity, entries)).join('. ');
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}" role="img">`,
    `<title>${escapeXml(label)}</title>`,
    `<style>${STYLE}\n</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** Medians, the largest first. */
function entriesOf(result: Result, { path, quantity }: Panel): Entry[] {
  const subjects = new Set(
    result.series.filter((each) => each.suite === SUITE && each.path === path).map(({ subject }) => subject),
  );
  return [...subjects]
    .map((subject) => ({
      subject,
      value: median(findSeries(result, { suite: SUITE, path, subject, quantity })?.values ?? []),
    }))
    .filter(({ value }) => Number.isFinite(value))
    .sort((one, other) => other.value - one.value);
}

function captionOf({ machine, options }: Result): string {
  const rounds = `medians of ${options.rounds} rounds`;
  return `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel.split('-')[0]}, Node ${machine.node}, ${rounds}, ${machine.date.slice(0, 10)}`;
}

/** Outside of this repository, nobody is "we". */
const nameOf = (subject: string) => subject.replace(/^ours\b/, 'tunconnector');

/** For readers who do not see it. */
const describe = (title: string, quantity: Quantity, entries: Entry[]) =>
  `${title}: ${entries.map(({ subject, value }) => `${nameOf(subject)} ${formatFigure(value, quantity)} ${unitOf(quantity)}`).join('; ')}`;

function text(x: number, y: number, words: string, kind = '', anchor = ''): string {
  const attributes = `${kind ? ` class="${kind}"` : ''}${anchor ? ` text-anchor="${anchor}"` : ''}`;
  return `<text x="${Number(x.toFixed(1))}" y="${y}"${attributes}>${escapeXml(words)}</text>`;
}

const escapeXml = (words: string) =>
  words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
