/** Something that changes, and those who want to know. */
export class Topic<T> {
  #value: T;
  readonly #listeners: ((value: T) => void)[] = [];

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set value(value: T) {
    this.#value = value;
    for (const listener of this.#listeners) listener(value);
  }

  /** Calls it now and with every change. */
  watch(listener: (value: T) => void): void {
    this.#listeners.push(listener);
    listener(this.#value);
  }
}
