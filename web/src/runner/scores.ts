/** The scores of tokens as a packed tokenizer has them: those of a range of ids are not listed. */
import { broken } from "./vocabulary";

export class Scores {
  readonly #listed: Float32Array;
  readonly #first: number;
  readonly #end: number;
  /** Whether they are whole numbers. */
  readonly whole: boolean;

  /** Throws `TokenizerError` when there is not one of each of `count` tokens, or one is not finite. */
  constructor(listed: Float32Array, falling: Uint32Array, count: number) {
    const [first = 0, end = 0] = falling;
    if (falling.length !== 2 || first > end || end > count) {
      throw broken("the falling scores are not those of a range of ids");
    }
    if (listed.length !== count - (end - first)) throw broken("scores and tokens are not equally many");
    if (!every(listed, Number.isFinite)) throw broken("every score must be a finite number");
    this.#listed = listed;
    this.#first = first;
    this.#end = end;
    this.whole = every(listed, Number.isInteger);
  }

  /** The score of an id; the token of the highest one merges first. */
  of(id: number): number {
    if (id < this.#first) return this.#listed[id] ?? 0;
    return id < this.#end ? -id : (this.#listed[this.#first + id - this.#end] ?? 0);
  }
}

/** As `Float32Array.every`, which makes an object of each number: 4 MB for the collector. */
function every(numbers: Float32Array, holds: (value: number) => boolean): boolean {
  let at = 0;
  while (at < numbers.length && holds(numbers[at] ?? 0)) at++;
  return at === numbers.length;
}
