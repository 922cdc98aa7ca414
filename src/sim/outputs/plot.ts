/** Line plots as SVG: nothing but text, the same for the same numbers. */

export interface Line {
  name: string;
  /** x and y. */
  points: readonly (readonly [number, number])[];
  /** Points alone, with circles. */
  dots?: boolean;
  /** Number of its colour; default: its place. */
  colour?: number;
}

export interface Panel {
  title: string;
  x: string;
  y: string;
  lines: readonly Line[];
  /** Decades instead of a linear scale. */
  logX?: boolean;
  logY?: boolean;
}

const WIDTH = 760;
const HEIGHT = 230;
const LEFT = 74;
const RIGHT = 150;
const TOP = 30;
const BOTTOM = 42;
/** Okabe and Ito: eight that people with any eyes can tell apart. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#b8a800'];
/** More would be a heap of lines; those are in the CSV. */
const MOST_LINES = 8;

/** Panels one below the other. */
export function plot(panels: readonly Panel[]): string {
  const height = panels.length * HEIGHT;
  const body = panels.map((panel, n) => `<g transform="translate(0 ${n * HEIGHT})">${panelOf(panel)}</g>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">
<title>${escaped(panels.map(({ title }) => title).join('; '))}</title>
<rect width="100%" height="100%" fill="#fff"/>
${body.join('\n')}
</svg>
`;
}

interface Scale {
  at(value: number): number;
  ticks: number[];
}

function panelOf({ title, x, y, lines, logX = false, logY = false }: Panel): string {
  const shown = lines.slice(0, MOST_LINES);
  const all = shown.flatMap(({ points }) => points);
  const across = scaleOf(
    all.map((point) => point[0]),
    logX,
    LEFT,
    WIDTH - RIGHT,
    false,
  );
  const up = scaleOf(
    all.map((point) => point[1]),
    logY,
    HEIGHT - BOTTOM,
    TOP,
    true,
  );
  const parts = [
    `<text x="${LEFT}" y="${TOP - 12}" font-size="13" font-weight="bold">${escaped(title)}</text>`,
  ];
  for (const tick of up.ticks) {
    const at = round(up.at(tick));
    parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#ddd"/>`);
    parts.push(`<text x="${LEFT - 6}" y="${round(at + 4)}" text-anchor="end">${label(tick)}</text>`);
  }
  for (const tick of across.ticks) {
    const at = round(across.at(tick));
    parts.push(
      `<line x1="${at}" x2="${at}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM + 4}" stroke="#444"/>`,
    );
    parts.push(`<text x="${at}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${label(tick)}</text>`);
  }
  parts.push(
    `<path d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}" fill="none" stroke="#444"/>`,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 10}" text-anchor="middle">${escaped(x)}</text>`,
    `<text transform="translate(16 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escaped(y)}</text>`,
  );
  for (const [n, { name, points, dots = false, colour: own = n }] of shown.entries()) {
    const colour = COLOURS[own % COLOURS.length]!;
    const places = points.map((point) => [round(across.at(point[0])), round(up.at(point[1]))] as const);
    if (dots)
      for (const [cx, cy] of places) parts.push(`<circle cx="${cx}" cy="${cy}" r="3.5" fill="${colour}"/>`);
    else {
      const text = places.map((place) => place.join(' ')).join('L');
      parts.push(`<path d="M${text}" fill="none" stroke="${colour}" stroke-width="1.5"/>`);
    }
    const below = TOP + 8 + n * 16;
    const beside = WIDTH - RIGHT + 12;
    parts.push(
      dots
        ? `<circle cx="${beside + 8}" cy="${below}" r="3.5" fill="${colour}"/>`
        : `<path d="M${beside} ${below}h16" stroke="${colour}" stroke-width="2"/>`,
      `<text x="${beside + 22}" y="${below + 4}">${escaped(name.length > 18 ? `${name.slice(0, 17)}…` : name)}</text>`,
    );
  }
  if (lines.length > MOST_LINES) {
    const below = TOP + 12 + MOST_LINES * 16;
    parts.push(`<text x="${WIDTH - RIGHT + 12}" y="${below}">and ${lines.length - MOST_LINES} more</text>`);
  }
  return parts.join('\n');
}

function scaleOf(values: readonly number[], log: boolean, from: number, to: number, zero: boolean): Scale {
  const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  let least = usable.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  let most = usable.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (usable.length === 0) [least, most] = [log ? 1 : 0, 10];
  if (log) {
    const [low, high] = [
      Math.floor(Math.log10(least)),
      Math.max(Math.ceil(Math.log10(most)), Math.floor(Math.log10(least)) + 1),
    ];
    const ticks = Array.from({ length: high - low + 1 }, (_, n) => 10 ** (low + n));
    return {
      at: (value) => from + ((to - from) * (Math.log10(Math.max(value, 10 ** low)) - low)) / (high - low),
      ticks,
    };
  }
  if (zero) least = Math.min(0, least);
  if (most <= least) most = least + 1;
  const step = stepOf((most - least) / 5);
  const [low, high] = [Math.floor(least / step) * step, Math.ceil(most / step) * step];
  const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, n) => low + n * step);
  return { at: (value) => from + ((to - from) * (value - low)) / (high - low), ticks };
}

/** 1, 2 or 5 of a decade. */
function stepOf(rough: number): number {
  const decade = 10 ** Math.floor(Math.log10(rough));
  return decade * ([1, 2, 5].find((each) => each * decade >= rough * 0.999) ?? 10);
}

function label(value: number): string {
  for (const [unit, name] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const)
    if (Math.abs(value) >= unit) return `${Number((value / unit).toPrecision(4))}${name}`;
  return `${Number(value.toPrecision(4))}`;
}

const round = (value: number): number => Math.round(value * 10) / 10;

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
