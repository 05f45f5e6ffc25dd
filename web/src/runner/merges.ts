/** Merges as a packed tokenizer has them: a sorted table of pairs of ids. */
import { MlrError } from "../shared/errors";

export class Merges {
  /** Of each pair the right id, then the left one: a number of 64 bits, as they lie in memory. */
  readonly #pairs: Uint32Array;
  readonly #ranks: Uint32Array;

  /** Throws `TokenizerError` when the pairs do not increase, or the ranks are not as many. */
  constructor(pairs: Uint32Array, ranks: Uint32Array) {
    this.#pairs = pairs;
    this.#ranks = ranks;
    let increasing = pairs.length === 2 * ranks.length;
    for (let i = 2; increasing && i < pairs.length; i += 2) {
      const left = pairs[i + 1] ?? 0;
      const right = pairs[i] ?? 0;
      const before = pairs[i - 1] ?? 0;
      increasing = left > before || (left === before && right > (pairs[i - 2] ?? 0));
    }
    if (!increasing) throw new MlrError("TokenizerError", "tokenizer: the merges are not in order");
  }

  /** How soon two neighbours merge, lower first; undefined: never. */
  rank(left: number, right: number): number | undefined {
    let low = 0;
    let high = this.#ranks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const found = this.#pairs[2 * middle + 1] ?? 0;
      if (found < left || (found === left && (this.#pairs[2 * middle] ?? 0) < right)) low = middle + 1;
      else high = middle;
    }
    const there = this.#pairs[2 * low + 1] === left && this.#pairs[2 * low] === right;
    return there ? this.#ranks[low] : undefined;
  }
}
