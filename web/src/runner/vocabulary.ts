/**
 * A packed tokenizer's vocabulary, with an index from texts to ids. A `Map` of a quarter of a
 * million strings, with an array of the strings by id, takes 25 MB; this takes what the file does.
 */
import { MlrError } from "../shared/errors";

const MAX_TOKENS = 4_000_000;
const DECODED_AT_ONCE = 2 ** 16;
const KINDS = 7; // of tokens

/** Types of tokens that are cut out of a text as they are. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

/** Types of tokens that have no text: of no use, or not said. */
const UNUSED = 5;
const UNDEFINED = 0;

/** The sections, as `mlr.tokenizer.packed` describes them. */
export interface VocabularyTables {
  lengths: Uint8Array | Uint16Array;
  order: Uint32Array;
  buckets: Uint8Array;
  types: Uint8Array;
  /** Where the texts begin and end in the file. */
  textsStart: number;
  textsEnd: number;
}

/** As a tokenizer.json has it. */
export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  /** Whether it is looked for in the text after the normalizer, not before. */
  normalized: boolean;
}

/**
 * An index that leaves tokens out makes them unreachable, as leaving out the tokens would: it is
 * not checked for that. It cannot give an id that has another text.
 */
export class Vocabulary {
  readonly #bytes: Uint8Array;
  readonly #tables: VocabularyTables;
  readonly #starts: Starts;
  readonly #bucketStarts: Starts;
  readonly #mask: number;
  /** The UTF-8 of a text that is looked for. */
  readonly #wanted: Uint8Array;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** `bytes` are the file's. Throws `TokenizerError` when the tables do not fit. */
  constructor(bytes: Uint8Array, tables: VocabularyTables) {
    this.#bytes = bytes;
    this.#tables = tables;
    this.#mask = tables.buckets.length - 1;
    this.#starts = new Starts(tables.lengths, tables.textsStart);
    this.#bucketStarts = new Starts(tables.buckets, 0);
    const longest = checkTexts(bytes, tables, this.#starts.end);
    checkIndex(tables, this.#bucketStarts.end);
    checkTypes(tables.types);
    this.#wanted = new Uint8Array(longest);
  }

  /** How many ids there are. */
  get size(): number {
    return this.#tables.types.length;
  }

  /** The id of a token; undefined for what is none. */
  id(token: string): number | undefined {
    const size = encode(token, this.#wanted);
    if (size < 0) return undefined;
    const { lengths, order, buckets } = this.#tables;
    const bucket = crc32(this.#wanted, size) & this.#mask;
    const first = this.#bucketStarts.of(bucket);
    const end = first + (buckets[bucket] ?? 0);
    for (let at = first; at < end; at++) {
      const id = order[at] ?? 0;
      if (lengths[id] === size && this.#isAt(this.#starts.of(id), size)) return id;
    }
    return undefined;
  }

  /** The token of an id; undefined if it has no text. */
  token(id: number): string | undefined {
    const kind = this.#tables.types[id];
    return kind === undefined || kind === UNUSED || kind === UNDEFINED ? undefined : this.#text(id) || undefined;
  }

  /** The tokens that are cut out of a text before anything else, one after the other. */
  *added(): Generator<AddedToken> {
    for (let id = 0; id < this.size; id++) {
      const content = this.isAdded(id) ? this.#text(id) : "";
      if (content) yield { id, content, special: this.isSpecial(id), normalized: false };
    }
  }

  isAdded(id: number): boolean {
    return this.#tables.types[id] === USER_DEFINED || this.isSpecial(id);
  }

  /** Whether it is an added token that decoding leaves out. */
  isSpecial(id: number): boolean {
    const kind = this.#tables.types[id];
    return kind === UNKNOWN || kind === CONTROL;
  }

  /** The id of the one with that text. */
  specialId(text: string): number | undefined {
    const id = this.id(text);
    return id !== undefined && this.isSpecial(id) ? id : undefined;
  }

  #text(id: number): string {
    const start = this.#starts.of(id);
    return this.#decoder.decode(this.#bytes.subarray(start, start + (this.#tables.lengths[id] ?? 0)));
  }

  #isAt(start: number, size: number): boolean {
    for (let i = 0; i < size; i++) if (this.#bytes[start + i] !== this.#wanted[i]) return false;
    return true;
  }
}

/** Where things begin that lie one after the other, from their sizes: a sum for every 8. */
class Starts {
  readonly #sizes: Uint8Array | Uint16Array;
  readonly #sums: Uint32Array;
  /** Where the last one ends. */
  readonly end: number;

  constructor(sizes: Uint8Array | Uint16Array, first: number) {
    this.#sizes = sizes;
    this.#sums = new Uint32Array(Math.ceil(sizes.length / 8));
    let start = first;
    for (let i = 0; i < sizes.length; i++) {
      if (i % 8 === 0) this.#sums[i / 8] = start;
      start += sizes[i] ?? 0;
    }
    this.end = start;
  }

  of(index: number): number {
    let start = this.#sums[index >> 3] ?? 0;
    for (let i = index & -8; i < index; i++) start += this.#sizes[i] ?? 0;
    return start;
  }
}

/** Throws `TokenizerError` unless each token is whole UTF-8; gives the bytes of the longest. */
function checkTexts(bytes: Uint8Array, { lengths, types, textsStart, textsEnd }: VocabularyTables, end: number): number {
  const count = types.length;
  if (count < 1 || count > MAX_TOKENS) throw broken(`${count} tokens; there must be 1 to ${MAX_TOKENS}`);
  if (lengths.length !== count) throw broken("types and lengths are not equally many");
  if (end !== textsEnd) throw broken("the lengths of the tokens are not those of the texts");
  const decoder = new TextDecoder("utf-8", { fatal: true }); // in parts, so that it takes no memory
  try {
    for (let start = textsStart; start < textsEnd; start += DECODED_AT_ONCE) {
      decoder.decode(bytes.subarray(start, Math.min(start + DECODED_AT_ONCE, textsEnd)), { stream: true });
    }
    decoder.decode();
  } catch {
    throw broken("the tokens are not UTF-8");
  }
  let longest = 0;
  let start = textsStart;
  for (let id = 0; id < count; id++) {
    if (start < textsEnd && ((bytes[start] ?? 0) & 0xc0) === 0x80) throw broken("a token begins within a character");
    const size = lengths[id] ?? 0;
    longest = Math.max(longest, size);
    start += size;
  }
  return longest;
}

function checkIndex({ order, buckets, types }: VocabularyTables, end: number): void {
  const count = types.length;
  const number = buckets.length;
  if (number < 1 || number > 2 * count || number & (number - 1)) throw broken(`${number} buckets for ${count} tokens`);
  if (end !== order.length) throw broken("the buckets are not those of the tokens");
  if (order.some((id) => id >= count)) throw broken("there is no token of an id in a bucket");
}

function checkTypes(types: Uint8Array): void {
  const unknown = types.find((kind) => kind >= KINDS);
  if (unknown !== undefined) throw broken(`there is no type ${unknown} of tokens`);
}

/** What is wrong with a packed tokenizer. */
export function broken(problem: string): MlrError {
  return new MlrError("TokenizerError", `tokenizer: ${problem}`);
}

/**
 * Writes a text in UTF-8; gives how many bytes that are, -1 if they are more than there is room
 * for. Unpaired surrogates become what is no UTF-8, so that nothing is equal to it.
 */
function encode(text: string, into: Uint8Array): number {
  let size = 0;
  for (let i = 0; i < text.length; i++) {
    const point = text.codePointAt(i) ?? 0;
    if (point < 0x80) {
      into[size++] = point;
    } else if (point < 0x800) {
      into[size++] = 0xc0 | (point >> 6);
      into[size++] = 0x80 | (point & 0x3f);
    } else if (point < 0x10000) {
      into[size++] = 0xe0 | (point >> 12);
      into[size++] = 0x80 | ((point >> 6) & 0x3f);
      into[size++] = 0x80 | (point & 0x3f);
    } else {
      into[size++] = 0xf0 | (point >> 18);
      into[size++] = 0x80 | ((point >> 12) & 0x3f);
      into[size++] = 0x80 | ((point >> 6) & 0x3f);
      into[size++] = 0x80 | (point & 0x3f);
      i++;
    }
    if (size > into.length) return -1;
  }
  return size;
}

const CRC32 = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

/** The CRC-32 of the first `size` bytes. */
function crc32(bytes: Uint8Array, size: number): number {
  let value = -1;
  for (let i = 0; i < size; i++) value = (CRC32[(value ^ (bytes[i] ?? 0)) & 0xff] ?? 0) ^ (value >>> 8);
  return ~value;
}
