import { scope } from "#scope";

/** Buffers of one size that are used again: a new one for each chunk would wait for the collector. */
export class Buffers {
  readonly #size: number;
  readonly #free: ArrayBuffer[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  /** `length` bytes, at most the size of a buffer, that hold anything. */
  take(length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#free.pop() ?? new ArrayBuffer(this.#size), 0, length);
  }

  /** Give back the memory of those that are not in use. */
  close(): void {
    for (const buffer of this.#free.splice(0)) scope.bytes.giveBack(buffer);
  }

  /** Whoever gives bytes back uses them no more. */
  give(bytes: Uint8Array<ArrayBuffer>): void {
    this.#free.push(bytes.buffer);
  }
}
