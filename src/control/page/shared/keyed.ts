/** Elements of a list that are kept as long as what they are of: who has the focus, keeps it. */

export interface Shown<T> {
  readonly element: HTMLElement;
  update(item: T): void;
}

export class Keyed<T> {
  readonly #parent: HTMLElement;
  readonly #key: (item: T, index: number) => string | number;
  readonly #make: (item: T) => Shown<T>;
  readonly #shown = new Map<string | number, Shown<T>>();

  /** @param parent has no other children */
  constructor(
    parent: HTMLElement,
    key: (item: T, index: number) => string | number,
    make: (item: T) => Shown<T>,
  ) {
    this.#parent = parent;
    this.#key = key;
    this.#make = make;
  }

  show(items: readonly T[]): void {
    const left = new Set(this.#shown.keys());
    for (const [index, item] of items.entries()) {
      const key = this.#key(item, index);
      left.delete(key);
      let shown = this.#shown.get(key);
      if (!shown) this.#shown.set(key, (shown = this.#make(item)));
      shown.update(item);
      const there = this.#parent.children[index];
      if (there !== shown.element) this.#parent.insertBefore(shown.element, there ?? null);
    }
    for (const key of left) {
      this.#shown.get(key)!.element.remove();
      this.#shown.delete(key);
    }
  }
}
