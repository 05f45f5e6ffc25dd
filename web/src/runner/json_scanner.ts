/** Reads JSON in UTF-8 from its bytes, without making objects of it. */

/** What is no JSON, or more than is read here. Whoever gets this reads the whole with `JSON.parse`. */
export class Unusual extends Error {}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const LETTER_U = 0x75;
/** What the letter after a backslash stands for, both as bytes. */
const ESCAPED = new Map([
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x2f, 0x2f],
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
]);
const MAX_DIGITS = 9;
const LEAST = [0, 0, 0x80, 0x800, 0x10000]; // character, by the length of its UTF-8

export class JsonScanner {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** The place of the next byte. */
  get at(): number {
    return this.#at;
  }

  /** Whether an object comes next; likewise a list. */
  get atObject(): boolean {
    return this.#peek() === OPEN_OBJECT;
  }

  get atList(): boolean {
    return this.#peek() === OPEN_LIST;
  }

  /** Read an object's fields: `field` reads a name, and a value after `colon`. */
  object(field: () => void): void {
    this.#parts(OPEN_OBJECT, CLOSE_OBJECT, field);
  }

  /** Read an object's fields, which differ: `value` is given a name and reads the value. */
  fields(value: (name: string) => void): void {
    const names = new Set<string>();
    this.object(() => {
      const name = this.#name();
      if (names.has(name)) throw new Unusual("a field twice");
      names.add(name);
      this.colon();
      value(name);
    });
  }

  /** Read a list's items, each with `item`. */
  list(item: () => void): void {
    this.#parts(OPEN_LIST, CLOSE_LIST, item);
  }

  /** Throws `Unusual` unless nothing but white space is left before `end`. */
  close(end: number): void {
    this.#peek();
    if (this.#at < end) throw new Unusual("more");
  }

  /** Go past the colon between a name and its value. */
  colon(): void {
    this.#expect(COLON);
  }

  /** A string without escapes, such as the name of a field. */
  #name(): string {
    this.#expect(QUOTE);
    const start = this.#at;
    this.#skipString();
    const bytes = this.#bytes.subarray(start, this.#at - 1);
    if (bytes.includes(BACKSLASH)) throw new Unusual("an escape in a name");
    return new TextDecoder().decode(bytes);
  }

  /** A whole number without a sign. */
  integer(): number {
    this.#peek();
    const start = this.#at;
    let value = 0;
    for (;;) {
      const digit = (this.#bytes[this.#at] ?? 0) - 0x30;
      if (digit < 0 || digit > 9) break;
      value = 10 * value + digit;
      this.#at++;
    }
    const digits = this.#at - start;
    const leading = digits > 1 && this.#bytes[start] === 0x30;
    if (digits === 0 || digits > MAX_DIGITS || leading) throw new Unusual("a number");
    return value;
  }

  /** Write a string's UTF-16 code units into `units` from `to` on; returns where they end. */
  string(units: Uint16Array, to: number): number {
    this.#expect(QUOTE);
    const bytes = this.#bytes;
    let end = to;
    for (;;) {
      const byte = bytes[this.#at++] ?? -1;
      if (byte === QUOTE) return end;
      if (byte < 0x20 || end + 2 > units.length) throw new Unusual("a string");
      if (byte === BACKSLASH) {
        units[end++] = this.#escaped();
      } else if (byte < 0x80) {
        units[end++] = byte;
      } else {
        const character = this.#character(byte);
        if (character >= 0x10000) units[end++] = 0xd7c0 + (character >> 10);
        units[end++] = character < 0x10000 ? character : 0xdc00 + (character & 0x3ff);
      }
    }
  }

  /** Go past a value, which is not checked; returns how many items or fields it has at most. */
  skip(): number {
    const bytes = this.#bytes;
    let [at, depth, commas] = [this.#at, 0, 0];
    for (; at < bytes.length; at++) {
      const byte = bytes[at];
      if (byte === QUOTE) {
        for (at++; bytes[at] !== QUOTE && at < bytes.length; at++) if (bytes[at] === BACKSLASH) at++;
      } else if (byte === COMMA) {
        if (depth === 0) break;
        if (depth === 1) commas++;
      } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        depth++;
      } else if ((byte === CLOSE_LIST || byte === CLOSE_OBJECT) && depth-- === 0) {
        break;
      }
    }
    this.#at = at;
    return commas + 1;
  }

  #parts(open: number, close: number, part: () => void): void {
    this.#expect(open);
    if (this.#peek() === close) {
      this.#at++;
      return;
    }
    for (let byte = COMMA; byte !== close; byte = this.#next()) {
      if (byte !== COMMA) throw new Unusual("no comma");
      part();
      this.#peek();
    }
  }

  /** The byte after white space, which stays the next one; -1 at the end. */
  #peek(): number {
    let byte = this.#bytes[this.#at];
    while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = this.#bytes[++this.#at];
    return byte ?? -1;
  }

  #next(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw new Unusual("the end");
    return byte;
  }

  #expect(byte: number): void {
    if (this.#peek() !== byte) throw new Unusual("another character");
    this.#at++;
  }

  /** From within a string to after its end. */
  #skipString(): void {
    for (let byte = this.#next(); byte !== QUOTE; byte = this.#next()) if (byte === BACKSLASH) this.#at++;
  }

  /** The code unit that an escape stands for, from after its backslash. */
  #escaped(): number {
    const letter = this.#next();
    if (letter !== LETTER_U) {
      const unit = ESCAPED.get(letter);
      if (unit === undefined) throw new Unusual("an escape");
      return unit;
    }
    const digits = String.fromCharCode(this.#next(), this.#next(), this.#next(), this.#next());
    if (!/^[0-9A-Fa-f]{4}$/.test(digits)) throw new Unusual("an escape");
    return parseInt(digits, 16);
  }

  /** The character whose UTF-8 begins with `first`. */
  #character(first: number): number {
    const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    let value = first & (0x7f >> length);
    for (let i = 1; i < length; i++) {
      const byte = this.#next();
      if ((byte & 0xc0) !== 0x80) throw new Unusual("not UTF-8");
      value = (value << 6) | (byte & 0x3f);
    }
    const surrogate = value >= 0xd800 && value < 0xe000;
    if (first < 0xc0 || value < (LEAST[length] ?? 0) || value > 0x10ffff || surrogate) throw new Unusual("not UTF-8");
    return value;
  }
}
