/** A terminal that shows a picture, again and again in the same place, and takes keys. */
import type { EventEmitter } from 'node:events';
import { type Line, within } from './picture.ts';

/** The standard output, as far as this file is concerned. */
export interface Display extends EventEmitter {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
  rows?: number;
}

/** The standard input. */
export interface Keyboard extends EventEmitter {
  isTTY?: boolean;
  setRawMode?(on: boolean): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** xterm's control sequences, which all terminals of today know: another page, no cursor; and back. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const REST_OF_LINE = '\x1b[K';
const REST_OF_PAGE = '\x1b[J';
const LOOKS = { name: '\x1b[1m', head: '\x1b[7m' } as const;
const PLAIN = '\x1b[0m';

/** One key each, of those that come together: what a terminal sends for keys with no letter, and letters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what terminals send
const KEY = /\x1b[[O][\d;]*[A-Za-z~]|[\s\S]/g;

/** Of a terminal that does not tell. */
const USUAL = { columns: 80, rows: 24 };

export interface Keys {
  quit(): void;
  refresh(): void;
}

export class Screen {
  readonly #display: Display;
  readonly #keyboard: Keyboard;
  readonly #keys: Keys;
  #compose: (width: number) => Line[] = () => [];
  /** Lines that were scrolled away. */
  #above = 0;

  constructor(display: Display, keyboard: Keyboard, keys: Keys) {
    this.#display = display;
    this.#keyboard = keyboard;
    this.#keys = keys;
    display.write(ENTER);
    display.on('resize', this.#draw);
    if (!keyboard.isTTY) return;
    keyboard.setRawMode?.(true);
    keyboard.on('data', this.#typed);
    keyboard.resume();
  }

  /** @param compose the picture, for a width in columns; asked again when that changes */
  show(compose: (width: number) => Line[]): void {
    this.#compose = compose;
    this.#draw();
  }

  close(): void {
    this.#display.off('resize', this.#draw);
    if (this.#keyboard.isTTY) {
      this.#keyboard.off('data', this.#typed);
      this.#keyboard.setRawMode?.(false);
      this.#keyboard.pause();
    }
    this.#display.write(LEAVE);
  }

  readonly #draw = (): void => {
    // 0 where a terminal does not tell.
    const width = this.#display.columns || USUAL.columns;
    const height = this.#display.rows || USUAL.rows;
    const [first, ...lines] = this.#compose(width);
    if (!first) return;
    // The first line stays; the last says what is below.
    const room = Math.max(0, height - 1);
    this.#above = Math.max(0, Math.min(this.#above, lines.length - room));
    const shown = lines.slice(this.#above, this.#above + room);
    const below = lines.length - this.#above - shown.length;
    if (below > 0 && room > 0) {
      shown[room - 1] = { text: within(`  ${below + 1} more lines: arrow keys`, width), look: 'head' };
    }
    const text = [first, ...shown].map(({ text, look }) => {
      return look ? `${LOOKS[look]}${look === 'head' ? text.padEnd(width) : text}${PLAIN}` : text;
    });
    // Before the text: behind the last column the cursor stands on it, and would erase it.
    if (text.length < height) text.push(REST_OF_PAGE);
    this.#display.write(`${HOME}${REST_OF_LINE}${text.join(`\r\n${REST_OF_LINE}`)}`);
  };

  readonly #typed = (bytes: Uint8Array): void => {
    for (const [key] of Buffer.from(bytes).toString('latin1').matchAll(KEY)) this.#press(key);
  };

  #press(key: string): void {
    const page = Math.max(1, (this.#display.rows || USUAL.rows) - 2);
    switch (key) {
      case 'q':
      case 'Q':
      case '\x03': // Ctrl-C, which the terminal makes no signal of now
      case '\x04': // Ctrl-D
        this.#keys.quit();
        break;
      case ' ':
        this.#keys.refresh();
        break;
      case 'j':
      case '\x1b[B':
      case '\x1bOB':
        this.#scroll(1);
        break;
      case 'k':
      case '\x1b[A':
      case '\x1bOA':
        this.#scroll(-1);
        break;
      case '\x1b[6~':
        this.#scroll(page);
        break;
      case '\x1b[5~':
        this.#scroll(-page);
        break;
    }
  }

  #scroll(lines: number): void {
    this.#above = Math.max(0, this.#above + lines);
    this.#draw();
  }
}
