/** Merges of pairs of tokens in three arrays: 3 MB where a `Map` of the pairs' texts takes 25. */
import { platform } from "#platform";

export class Merges {
  /** By the id of a left token, where its merges begin; one more for where the last one's end. */
  readonly #begins: Uint32Array;
  /** The right tokens' ids, ascending for each left token. */
  readonly #rights: Uint32Array;
  /** The ranks of these merges. */
  readonly #ranks: Uint32Array;

  /** The merge of rank `r` is of the tokens `lefts[r]` and `rights[r]`, both below `size`. */
  constructor(lefts: Uint32Array, rights: Uint32Array, size: number) {
    const byRight = platform.bytes.borrow(lefts.byteLength);
    const begins = platform.bytes.borrow(4 * (size + 1));
    this.#ranks = lefts.map((_, rank) => rank);
    order(this.#ranks, rights, new Uint32Array(begins), new Uint32Array(byRight));
    this.#begins = new Uint32Array(size + 1);
    order(new Uint32Array(byRight), lefts, this.#begins, this.#ranks);
    this.#rights = this.#ranks.map((rank) => rights[rank] ?? 0);
    platform.bytes.giveBack(byRight);
    platform.bytes.giveBack(begins);
  }

  /** The rank of a merge, the last one if there are several; undefined where there is none. */
  rank(left: number, right: number): number | undefined {
    const begin = this.#begins[left] ?? 0;
    let low = begin;
    let high = this.#begins[left + 1] ?? 0;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#rights[middle] ?? 0) <= right) low = middle + 1;
      else high = middle;
    }
    return low > begin && this.#rights[low - 1] === right ? this.#ranks[low - 1] : undefined;
  }
}

/**
 * Writes ranks by their keys into `ordered`, those of equal keys as they were, and where the ranks
 * of each key begin into `begins`, which are zeros; its last one is how many there are.
 */
function order(ranks: Uint32Array, keys: Uint32Array, begins: Uint32Array, ordered: Uint32Array): void {
  for (const key of keys) begins[key] = (begins[key] ?? 0) + 1;
  for (let key = 0, end = 0; key < begins.length; key++) begins[key] = end += begins[key] ?? 0; // where a key's end
  for (let i = ranks.length - 1; i >= 0; i--) {
    const rank = ranks[i] ?? 0;
    const key = keys[rank] ?? 0;
    const place = (begins[key] ?? 0) - 1;
    ordered[place] = rank;
    begins[key] = place;
  }
}
