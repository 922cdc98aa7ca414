/** Four charts of one rule, both directions, on one axis of time. */
import uPlot from '/uplot/uPlot.esm.js';
import { byId, h, setText } from '../shared/dom.ts';
import { bitRate, clock, counted, percent, tick, time } from '../shared/format.ts';
import { latest, type Measure, type Past, recent } from './history.ts';
import { DIRECTIONS, type Direction } from './stages.ts';

interface ChartKind {
  readonly measure: Measure;
  readonly title: string;
  /** What the figures are, for those who hover. */
  readonly about: string;
  show(value: number): string;
  /** Units at the axis, each a thousand of the one before. */
  readonly units: readonly string[];
  /** The least that the top of the axis stands for: noise does not fill the picture. */
  readonly least: number;
}

const CHARTS: readonly ChartKind[] = [
  {
    measure: 'throughput',
    title: 'Throughput',
    about: 'What left the link, in bit/s',
    show: bitRate,
    units: ['', 'k', 'M', 'G'],
    least: 1000,
  },
  {
    measure: 'delay',
    title: 'Delay',
    about: 'From when packets came until they left, on average',
    show: (ms) => time(ms * 1e6),
    units: ['ms', 's'],
    least: 1,
  },
  {
    measure: 'held',
    title: 'Queue',
    about: 'Packets and superframes that are held: those that are delayed and those that wait for a rate',
    show: counted,
    units: ['', 'k', 'M'],
    least: 10,
  },
  {
    measure: 'loss',
    title: 'Loss',
    about: 'Share of the packets that were dropped, whatever the reason',
    show: (value) => percent(value / 100),
    units: ['%'],
    least: 1,
  },
];

const ARROWS = { up: '↑', down: '↓' } as const;
const HEIGHT = 132;
const AXIS = 50;

const colour = (name: string) => () => getComputedStyle(document.documentElement).getPropertyValue(name);

class Chart {
  readonly #kind: ChartKind;
  readonly #figure: HTMLElement;
  readonly #values: Record<Direction, HTMLElement>;
  readonly #plot: uPlot;
  #shown: Past | undefined;

  constructor(kind: ChartKind) {
    this.#kind = kind;
    const value = (way: Direction) => h('span', { class: `value ${way}` }, `${ARROWS[way]} –`);
    this.#values = { up: value('up'), down: value('down') };
    const picture = h('div', { class: 'picture', 'aria-hidden': 'true' });
    const caption = h('figcaption', {}, h('h3', { title: kind.about }, kind.title));
    caption.append(this.#values.up, this.#values.down);
    this.#figure = h('figure', { class: 'chart' }, caption, picture);
    byId('charts').append(this.#figure);
    this.#plot = new uPlot(this.#options(), [[], [], []], picture);
    new ResizeObserver(([entry]) => {
      this.#plot.setSize({ width: Math.floor(entry!.contentRect.width), height: HEIGHT });
    }).observe(picture);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#plot.redraw());
  }

  show(past: Past | undefined): void {
    this.#shown = past;
    const { measure } = this.#kind;
    const data = past ? [past.times, past.up[measure], past.down[measure]].map(recent) : [[], [], []];
    this.#plot.setData(data as uPlot.AlignedData);
    this.#tell(this.#plot.cursor.idx);
  }

  /** The values under the cursor, or the newest. */
  #tell(index: number | null | undefined): void {
    const { measure, show } = this.#kind;
    for (const [i, way] of DIRECTIONS.entries()) {
      const at = index ?? undefined;
      const value = at === undefined ? latest(this.#shown, way, measure) : this.#plot.data[i + 1]?.[at];
      const text = value === null || value === undefined ? '–' : show(value);
      setText(this.#values[way], `${ARROWS[way]} ${text}`);
    }
  }

  #options(): uPlot.Options {
    const { units, least } = this.#kind;
    const grid = { stroke: colour('--grid'), width: 1 };
    const axis = { stroke: colour('--faint'), grid, ticks: { show: false }, font: '11px system-ui' };
    const line = (way: Direction): uPlot.Series => ({
      stroke: colour(`--${way}`),
      width: 1.5,
      spanGaps: false,
      points: { show: false },
    });
    return {
      width: 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: 'time' }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true },
        y: { range: (_plot, _low, high) => [0, Math.max((high ?? 0) * 1.1, least)] },
      },
      axes: [
        { ...axis, size: 22, gap: 4, space: 80, values: (_plot, at) => at.map((s) => clock(s * 1000)) },
        { ...axis, size: AXIS, gap: 6, space: 28, values: (_plot, at) => at.map((y) => tick(y, units)) },
      ],
      series: [{}, line('up'), line('down')],
      hooks: { setCursor: [({ cursor }) => this.#tell(cursor.idx)] },
    };
  }
}

export class Charts {
  readonly #charts = CHARTS.map((kind) => new Chart(kind));

  show(past: Past | undefined): void {
    for (const chart of this.#charts) chart.show(past);
  }
}
