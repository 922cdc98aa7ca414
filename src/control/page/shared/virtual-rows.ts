/**
 * Rows of one height, of which only those in sight are there. The focus stays with the list; which row is the active one says
 * aria-activedescendant, so that rows can be made and unmade under a screen reader's feet.
 */
import { h } from './dom.ts';

export interface RowsOptions {
  /** The scrolling element, which gets the role that goes with its rows. */
  readonly list: HTMLElement;
  readonly name: string;
  /** Of a row, px. */
  readonly height: number;
  readonly role: 'row' | 'option';
  /** Fills a row that may have been another's. */
  fill(row: HTMLElement, index: number): void;
  /** The keyboard went to it. */
  move?(index: number): void;
  /** Enter, space or a click. */
  choose(index: number): void;
}

/** Rows above and below what is in sight. */
const MARGIN = 4;

export class VirtualRows {
  readonly #options: RowsOptions;
  readonly #space = h('div', { class: 'space', role: 'presentation' });
  readonly #rows: HTMLElement[] = [];
  #count = 0;
  #active = 0;
  #pending = false;

  constructor(options: RowsOptions) {
    this.#options = options;
    const { list } = options;
    list.append(this.#space);
    list.tabIndex = 0;
    list.setAttribute('role', options.role === 'row' ? 'grid' : 'listbox');
    list.setAttribute('aria-label', options.name);
    list.addEventListener('scroll', () => this.refresh(), { passive: true });
    list.addEventListener('keydown', (event) => this.#key(event));
    list.addEventListener('focus', () => this.refresh());
    list.addEventListener('blur', () => this.refresh());
    new ResizeObserver(() => this.refresh()).observe(list);
  }

  get count(): number {
    return this.#count;
  }

  set count(count: number) {
    if (count === this.#count) return;
    this.#count = count;
    this.#active = Math.max(0, Math.min(this.#active, count - 1));
    this.#space.style.height = `${count * this.#options.height}px`;
    this.refresh();
  }

  get active(): number {
    return this.#active;
  }

  set active(index: number) {
    this.#active = index;
    this.refresh();
  }

  /** Rows in sight: the first, and the one behind the last. */
  get range(): { first: number; end: number } {
    const { list, height } = this.#options;
    const first = Math.max(0, Math.floor(list.scrollTop / height) - MARGIN);
    const end = Math.min(this.#count, Math.ceil((list.scrollTop + list.clientHeight) / height) + MARGIN);
    return { first, end: Math.max(first, end) };
  }

  scrollToTop(): void {
    this.#active = 0;
    this.#options.list.scrollTop = 0;
  }

  /** Fills what is in sight anew, once for however many ask before the next picture. */
  refresh(): void {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#render();
    });
  }

  #render(): void {
    const { list, height, role, fill } = this.#options;
    const { first, end } = this.range;
    while (this.#rows.length < end - first) {
      const row = h('div', { role, class: 'row', id: `${list.id}-${this.#rows.length}` });
      row.addEventListener('click', () => this.#chosen(row));
      this.#rows.push(row);
      this.#space.append(row);
    }
    let active = '';
    // Each row of the pool keeps its number modulo the pool: while scrolling, most need not change.
    const size = this.#rows.length;
    for (let i = 0; i < size; i++) {
      const row = this.#rows[i]!;
      const index = first + ((i - (first % size) + size) % size);
      row.hidden = index >= end;
      if (row.hidden) continue;
      row.dataset.index = `${index}`;
      row.style.transform = `translateY(${index * height}px)`;
      if (role === 'row') row.setAttribute('aria-rowindex', `${index + 2}`);
      else {
        row.setAttribute('aria-posinset', `${index + 1}`);
        row.setAttribute('aria-setsize', `${this.#count}`);
      }
      const isActive = index === this.#active && document.activeElement === list;
      row.classList.toggle('active', isActive);
      if (isActive) active = row.id;
      fill(row, index);
    }
    if (active === '') list.removeAttribute('aria-activedescendant');
    else list.setAttribute('aria-activedescendant', active);
  }

  #key(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey || this.#count === 0) return;
    const { list, height, choose } = this.#options;
    const page = Math.max(1, Math.floor(list.clientHeight / height) - 1);
    const steps: Record<string, number> = {
      ...{ ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page },
      ...{ Home: -this.#count, End: this.#count },
    };
    const step = steps[event.key];
    if (step !== undefined) this.#go(Math.max(0, Math.min(this.#active + step, this.#count - 1)));
    else if (event.key === 'Enter' || event.key === ' ') choose(this.#active);
    else return;
    event.preventDefault();
  }

  #go(index: number): void {
    const { list, height, move } = this.#options;
    this.#active = index;
    const top = index * height;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + height > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + height - list.clientHeight;
    }
    move?.(index);
    this.refresh();
  }

  #chosen(row: HTMLElement): void {
    const index = Number(row.dataset.index);
    this.#active = index;
    this.#options.choose(index);
    this.refresh();
  }
}
