/**
 * Tokens and their ids in three arrays. A `Map` of a quarter of a million strings, with an array of
 * the strings by id, takes 25 MB; this takes 6.
 */

const MAX_PROBES = 64; // for a token on average; what nobody chose needs one or two

export class Vocabulary {
  /** Of each token its length, then its UTF-16 code units. */
  readonly #units: Uint16Array;
  /** By id, where the token's code units begin; 0: there is none. */
  readonly #starts: Uint32Array;
  /** Ids by their tokens' hash, with open addressing: one more than the id, or 0 for a free slot. */
  readonly #table: Uint32Array;
  readonly #mask: number;
  /** The code units of a text that is looked for. */
  readonly #wanted: Uint16Array;

  private constructor(units: Uint16Array, starts: Uint32Array, count: number) {
    this.#units = units;
    this.#starts = starts;
    this.#mask = 2 ** Math.ceil(Math.log2(1.5 * count + 1)) - 1;
    this.#table = new Uint32Array(this.#mask + 1);
    let longest = 0;
    for (const start of starts) if (start > 0) longest = Math.max(longest, units[start - 1] ?? 0);
    this.#wanted = new Uint16Array(longest);
  }

  /**
   * The `count` tokens that `units` and `starts` describe. Null if two are equal, or if they were
   * chosen so that their hashes are.
   */
  static of(units: Uint16Array, starts: Uint32Array, count: number): Vocabulary | null {
    const vocabulary = new Vocabulary(units, starts, count);
    return vocabulary.#enter(MAX_PROBES * count) ? vocabulary : null;
  }

  /** One more than the highest id. */
  get size(): number {
    return this.#starts.length;
  }

  /** The id of a token; undefined for what is none. */
  id(token: string): number | undefined {
    const { length } = token;
    if (length > this.#wanted.length) return undefined;
    for (let i = 0; i < length; i++) this.#wanted[i] = token.charCodeAt(i);
    return this.find(this.#wanted, 0, length);
  }

  /** The id of the token whose code units are those of `units` from `start` to `end`. */
  find(units: Uint16Array, start: number, end: number): number | undefined {
    for (let slot = hash(units, start, end) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const id = (this.#table[slot] ?? 0) - 1;
      if (id < 0) return undefined;
      if (this.#is(id, units, start, end)) return id;
    }
  }

  /** The token of an id; undefined if it has none. */
  token(id: number): string | undefined {
    const start = this.#starts[id];
    if (!start) return undefined;
    const units = this.#units.subarray(start, start + (this.#units[start - 1] ?? 0));
    return String.fromCharCode.apply(null, units as unknown as number[]);
  }

  /** Fill the table; false if that takes more than `probes`, or if a token is there twice. */
  #enter(probes: number): boolean {
    for (const [id, start] of this.#starts.entries()) {
      if (start === 0) continue;
      const end = start + (this.#units[start - 1] ?? 0);
      let slot = hash(this.#units, start, end) & this.#mask;
      for (let other = this.#table[slot] ?? 0; other > 0; other = this.#table[slot] ?? 0) {
        if (probes-- === 0 || this.#is(other - 1, this.#units, start, end)) return false;
        slot = (slot + 1) & this.#mask;
      }
      this.#table[slot] = id + 1;
    }
    return true;
  }

  #is(id: number, units: Uint16Array, start: number, end: number): boolean {
    let at = this.#starts[id] ?? 0;
    if (this.#units[at - 1] !== end - start) return false;
    for (let i = start; i < end; i++) if (units[i] !== this.#units[at++]) return false;
    return true;
  }
}

/** FNV-1a over code units, with its upper bits mixed into the lower ones. */
function hash(units: Uint16Array, start: number, end: number): number {
  let value = 0x811c9dc5;
  for (let i = start; i < end; i++) value = Math.imul(value ^ (units[i] ?? 0), 0x01000193);
  value ^= value >>> 15;
  value = Math.imul(value, 0x2c1b3c6d);
  return value ^ (value >>> 13);
}
