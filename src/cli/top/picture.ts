/** A network in lines of text, as wide as there is room. */
import { formatBitRate, formatPacketRate, grouped } from '../format.ts';
import type { AppRates, LinkRates, NetworkRates } from './rates.ts';

/** What is known of a network. */
export interface View {
  name: string;
  /** Undefined until it has answered. */
  rates: NetworkRates | undefined;
  /** How long it has owed an answer, ms; 0 when it does not. */
  silent: number;
}

export interface Line {
  text: string;
  /** For terminals. */
  look?: 'name' | 'head';
}

interface Column<T> {
  head: string;
  width: number;
  text: (row: T) => string;
}

/** The first go first where there is too little room. */
const LINK_COLUMNS: Column<LinkRates>[] = [
  { head: 'full', width: 10, text: ({ full }) => grouped(full) },
  { head: 'waiting', width: 9, text: ({ waiting }) => grouped(waiting) },
  { head: 'packets', width: 13, text: (link) => formatPacketRate(link.packetsPerSecond) },
  { head: 'bits', width: 13, text: (link) => formatBitRate(link.bitsPerSecond) },
];
/** `tunnel.inside -> down.in` is to be told from its neighbours. */
const LINK_WIDTH = 26;
const APP_WIDTH = 12;
const APP_COLUMNS: Column<AppRates>[] = [
  { head: 'held', width: 8, text: ({ held }) => (held > 0 ? grouped(held) : '') },
  { head: 'drops/s', width: 9, text: (app) => grouped(app.droppedPerSecond) },
  { head: 'dropped', width: 11, text: ({ dropped }) => grouped(dropped) },
];
/** An answer takes a breath of the network; this is no breath any more, ms. */
const SILENT = 2000;

/** @param width of the terminal, in columns; no line is longer */
export function picture({ name, rates, silent }: View, width: number): Line[] {
  const late = silent > SILENT ? `no answer for ${Math.round(silent / 1000)} s` : '';
  if (!rates) return [{ text: within(`${name}   ${late || 'no answer yet'}`, width), look: 'name' }];
  const { smallSlots, smallUsed, largeSlots, largeUsed } = rates.memory;
  const of = (used: number, slots: number) => `${grouped(used)} of ${grouped(slots)}`;
  const memory = `memory: ${of(smallUsed, smallSlots)} small, ${of(largeUsed, largeSlots)} large`;
  const lines: Line[] = [
    { text: within([name, late, memory].filter(Boolean).join('   '), width), look: 'name' },
  ];
  lines.push(...linkLines(rates.links, width), ...dropLines(rates.apps, width));
  return lines;
}

function linkLines(links: readonly LinkRates[], width: number): Line[] {
  let columns = LINK_COLUMNS;
  while (columns.length > 1 && width - widthOf(columns) < LINK_WIDTH + 2) columns = columns.slice(1);
  // In the order in which people read: how much, then what is wrong.
  const shown = [...columns].reverse();
  const room = Math.max(1, width - widthOf(columns));
  const head: Line = { text: row('  link', room, shown, undefined, width), look: 'head' };
  return [head, ...links.map((link) => ({ text: row(`  ${link.link}`, room, shown, link, width) }))];
}

function dropLines(apps: readonly AppRates[], width: number): Line[] {
  const told = apps.filter(({ held, dropped }) => held > 0 || dropped > 0);
  if (told.length === 0) return [];
  const room = 2 + Math.max(APP_WIDTH, ...told.map(({ app }) => app.length));
  const head = `${row('  app', room, APP_COLUMNS, undefined, width)}   reasons`;
  return [
    { text: within(head, width), look: 'head' },
    ...told.map((each) => {
      const reasons = Object.entries(each.drops)
        .sort(([, a], [, b]) => b - a)
        .map(([reason, n]) => `${reason} ${grouped(n)}`);
      return {
        text: within(
          `${row(`  ${each.app}`, room, APP_COLUMNS, each, width)}   ${reasons.join(', ')}`,
          width,
        ),
      };
    }),
  ];
}

const widthOf = (columns: readonly Column<never>[]) => columns.reduce((sum, { width }) => sum + width, 0);

/** @param values undefined for the heads of the columns */
function row<T>(
  first: string,
  room: number,
  columns: readonly Column<T>[],
  values: T | undefined,
  width: number,
): string {
  const cells = columns.map(({ head, width, text }) => (values ? text(values) : head).padStart(width));
  return within(elide(first, room).padEnd(room) + cells.join(''), width).trimEnd();
}

/** The beginning, where there is no room for all of it. */
export const within = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`.slice(0, Math.max(0, width));

/** Both ends of `a.out -> b.in` say what it is; what is missing is in the middle. */
function elide(text: string, width: number): string {
  if (text.length <= width) return text;
  const left = Math.ceil((width - 1) / 2);
  return `${text.slice(0, left)}…${text.slice(text.length - Math.max(0, width - 1 - left))}`.slice(0, width);
}
