/** A bounded queue between one producer and one consumer. */
export class Queue<T> {
  readonly #items: T[] = [];
  #ended = false;
  #error: unknown;
  #failed = false;
  #wake: (() => void) | undefined;

  constructor(readonly capacity: number) {}

  /** Add an item, once fewer than `waiting` wait. Resolves to false when nobody wants it any more. */
  async push(item: T, waiting = this.capacity): Promise<boolean> {
    while (this.#items.length >= waiting && !this.#ended) await this.#change();
    if (this.#ended) return false;
    this.#items.push(item);
    this.#signal();
    return true;
  }

  /** The next item, or undefined after the last. Rejects with the producer's error. */
  async next(): Promise<T | undefined> {
    while (this.#items.length === 0 && !this.#ended) await this.#change();
    const item = this.#items.shift();
    this.#signal();
    if (item === undefined && this.#failed) throw this.#error;
    return item;
  }

  /** No more items come, or none are wanted. */
  end(): void {
    this.#ended = true;
    this.#signal();
  }

  /** The consumer is to hear of this error once it has taken what is there. */
  fail(error: unknown): void {
    this.#failed = true;
    this.#error = error;
    this.end();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#wake;
      this.#wake = () => {
        before?.();
        resolve();
      };
    });
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
