/** Waits that can be cut short. */
export class Pace {
  stopped = false;
  #end = () => {};

  /** One at a time. */
  wait(ms: number): Promise<void> {
    if (this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#end = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  hurry(): void {
    this.#end();
  }

  stop(): void {
    this.stopped = true;
    this.#end();
  }
}
