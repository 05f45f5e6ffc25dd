/** Merges of pairs of tokens in three arrays: 3 MB where a `Map` of the pairs' texts takes 25. */

export class Merges {
  /** By the id of a left token, where its merges begin; one more for where the last one's end. */
  readonly #begins: Uint32Array;
  /** The right tokens' ids, ascending for each left token. */
  readonly #rights: Uint32Array;
  /** The ranks of these merges. */
  readonly #ranks: Uint32Array;

  /** The merge of rank `r` is of the tokens `lefts[r]` and `rights[r]`, both below `size`. Both are used up. */
  constructor(lefts: Uint32Array, rights: Uint32Array, size: number) {
    const ranks = new Uint32Array(lefts.length);
    for (let rank = 0; rank < ranks.length; rank++) ranks[rank] = rank;
    const byRight = new Uint32Array(lefts.length);
    order(ranks, rights, size, byRight);
    this.#begins = order(byRight, lefts, size, ranks);
    this.#ranks = ranks;
    for (let i = 0; i < ranks.length; i++) lefts[i] = rights[ranks[i] ?? 0] ?? 0;
    this.#rights = lefts;
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
 * Writes ranks by their keys, which are below `size`, into `ordered`; those of equal keys stay as
 * they were. Returns where the ranks of each key begin, and at the end how many there are.
 */
function order(ranks: Uint32Array, keys: Uint32Array, size: number, ordered: Uint32Array): Uint32Array {
  const begins = new Uint32Array(size + 1);
  for (const key of keys) begins[key] = (begins[key] ?? 0) + 1;
  for (let key = 0, end = 0; key <= size; key++) begins[key] = end += begins[key] ?? 0; // where a key's end
  for (let i = ranks.length - 1; i >= 0; i--) {
    const rank = ranks[i] ?? 0;
    const key = keys[rank] ?? 0;
    const place = (begins[key] ?? 0) - 1;
    ordered[place] = rank;
    begins[key] = place;
  }
  return begins;
}
