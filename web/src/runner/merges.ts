/** Merges of pairs of tokens in three arrays: 3 MB where a `Map` of the pairs' texts takes 25. */

export class Merges {
  /** By the id of a left token, where its merges begin; one more for where the last one's end. */
  readonly #begins: Uint32Array;
  /** The right tokens' ids, ascending for each left token. */
  readonly #rights: Uint32Array;
  /** The ranks of these merges. */
  readonly #ranks: Uint32Array;

  /** The merge of rank `r` is of the tokens `lefts[r]` and `rights[r]`, both below `size`. */
  constructor(lefts: Uint32Array, rights: Uint32Array, size: number) {
    const byRight = order(
      lefts.map((_, rank) => rank),
      rights,
      offsets(rights, size),
    );
    this.#begins = offsets(lefts, size);
    this.#ranks = order(byRight, lefts, this.#begins.slice());
    this.#rights = this.#ranks.map((rank) => rights[rank] ?? 0);
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

/** For each key below `size`, how many of `keys` are less; for `size`, how many there are. */
function offsets(keys: Uint32Array, size: number): Uint32Array {
  const less = new Uint32Array(size + 1);
  for (const key of keys) less[key + 1] = (less[key + 1] ?? 0) + 1;
  for (let key = 0; key < size; key++) less[key + 1] = (less[key + 1] ?? 0) + (less[key] ?? 0);
  return less;
}

/** Ranks by their keys, those of equal keys as they were. `next` has the keys' offsets, and is used up. */
function order(ranks: Uint32Array, keys: Uint32Array, next: Uint32Array): Uint32Array {
  const ordered = new Uint32Array(ranks.length);
  for (const rank of ranks) {
    const key = keys[rank] ?? 0;
    const at = next[key] ?? 0;
    ordered[at] = rank;
    next[key] = at + 1;
  }
  return ordered;
}
