/**
 * Decodes a growing sequence. A token's text depends on the tokens before it, so the tokens since
 * the last text that was given out are decoded together with those that made that text.
 */
export class DecodeStream {
  readonly #decoding: Decoding;
  /** The tokens of the last text given out, then those that wait. */
  #ids: number[] = [];
  /** How many of them have been given out. */
  #given = 0;
  /** How much of the text of all of them has. */
  #shown = 0;
  /** Their last bytes. */
  #tail: number[] = [];

  constructor(decoding: Decoding) {
    this.#decoding = decoding;
  }

  /** The text that a token completes; "" while a character is incomplete. */
  push(id: number): string {
    const { decode, shows, holds, bytes } = this.#decoding;
    if (!shows(id)) return "";
    this.#ids.push(id);
    this.#tail = [...this.#tail, ...bytes(id).slice(-LONGEST_PART)].slice(-LONGEST_PART);
    if (holds(id)) return "";
    const text = decode(this.#ids);
    const incomplete = endsWithin(this.#tail);
    const end = incomplete ? text.length - 1 : text.length; // it was replaced by U+FFFD
    if (end <= this.#shown) return "";
    const piece = text.slice(this.#shown, end);
    this.#shown = end;
    if (!incomplete) {
      this.#ids = this.#ids.slice(this.#given);
      this.#given = this.#ids.length;
      this.#shown = decode(this.#ids).length;
    }
    return piece;
  }

  /** What is left at the end; an incomplete character becomes U+FFFD. */
  flush(): string {
    const piece = this.#decoding.decode(this.#ids).slice(this.#shown);
    this.#ids = this.#tail = [];
    this.#given = this.#shown = 0;
    return piece;
  }
}

export interface Decoding {
  decode: (ids: number[]) => string;
  /** Whether a token adds something to a text. */
  shows: (id: number) => boolean;
  /** Whether nothing can be told of a token's text before the next one. */
  holds: (id: number) => boolean;
  bytes: (id: number) => Uint8Array;
}

const LONGEST_PART = 3; // bytes of a character that is not complete

/** Whether bytes end within a character. */
function endsWithin(bytes: number[]): boolean {
  if ((bytes.at(-1) ?? 0) < 0x80) return false;
  return bytes.some((_, start) => {
    try {
      const part = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
      return part.decode(Uint8Array.from(bytes.slice(start)), { stream: true }) === "";
    } catch {
      return false;
    }
  });
}
