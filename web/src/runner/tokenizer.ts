/** Text to token ids and back, by `@huggingface/tokenizers` on a tokenizer.json or a packed tokenizer. */
import { ByteFallbackDecoder, type Decoder, SequenceDecoder, Tokenizer } from "@huggingface/tokenizers";
import { MlrError, messageOf } from "../shared/errors";
import { DecodeStream } from "./decode_stream";
import type { SpecialTokens } from "./manifest";
import { TABLES } from "./tables";
import { bytesOf } from "./token_bytes";
import { readPacked } from "./packed";
import { adapt, type TokenizerJson } from "./tokenizer_json";
import { useTables } from "./tokenizer_model";
import type { Vocabulary } from "./vocabulary";

const REPLACEMENT = "\ufffd";

/** The tokens that decoding leaves out. */
interface Special {
  isSpecial(id: number): boolean;
  /** The id of the one with that text. */
  specialId(text: string): number | undefined;
}

export class TextTokenizer {
  /** Ids that end a generation. */
  readonly endIds: ReadonlySet<number>;
  /** The text of the token that begins a text, or "". */
  readonly beginToken: string;
  /** The text of the token that ends one, or "". */
  readonly endToken: string;
  readonly #tokenizer: Tokenizer;
  readonly #special: Special;
  readonly #packed: Vocabulary | null;
  /** Whether runs of byte tokens are decoded as a whole, so that nothing of one can be shown before its end. */
  readonly #wholeRuns: boolean;

  /**
   * `file` has a tokenizer.json's bytes. Of a GGUF file's tokenizer it lacks what the packed tables
   * have, which are used where they lie in `tables`. There bytes that are not UTF-8 are replaced one
   * sequence at a time, as in Python; Hugging Face's way is to replace every byte of the run. Without
   * `named` the special tokens are known by their usual names. Throws `TokenizerError`.
   */
  constructor(file: Uint8Array, tables: Uint8Array<ArrayBuffer> | null, named: SpecialTokens | null) {
    const packed = tables && readPacked(tables);
    const tokenizerJson = adapt(parse(file));
    if (packed) leaveOutTables(tokenizerJson);
    try {
      this.#tokenizer = new Tokenizer(tokenizerJson, { clean_up_tokenization_spaces: false });
    } catch (error) {
      throw new MlrError("TokenizerError", `tokenizer.json: ${messageOf(error)}`, { cause: error });
    }
    if (packed) useTables(this.#tokenizer, packed);
    const fallback = findByteFallback(this.#tokenizer.decoder);
    this.#wholeRuns = fallback !== null && !packed;
    if (fallback) fallback.text_decoder = packed ? new TextDecoder("utf-8", { ignoreBOM: true }) : RUNS;

    this.#packed = packed?.vocabulary ?? null;
    this.#special = this.#packed ?? listSpecial(tokenizerJson);
    const { begin, end, ends } = named ?? this.#usualTokens();
    this.beginToken = begin;
    this.endToken = end;
    this.endIds = new Set(ends);
  }

  /** `addSpecial`: with what the model expects around a text. */
  encode(text: string, addSpecial: boolean): number[] {
    const { ids } = this.#tokenizer.encode(wellFormed(text), { add_special_tokens: addSpecial });
    // a character that is in no token, where there is no unknown token either
    return (ids as (number | undefined)[]).filter((id) => id !== undefined);
  }

  /** The text of ids without special tokens; ids outside the vocabulary add nothing. */
  decode(ids: number[]): string {
    const shown = ids.filter((id) => this.#shows(id));
    return shown.length > 0 ? this.#tokenizer.decode(shown) : "";
  }

  /** The bytes that a token adds to a text, special or not; none of an id outside the vocabulary. */
  bytes(id: number): Uint8Array {
    const token = this.#tokenizer.id_to_token(id);
    if (token === undefined) return new Uint8Array();
    if (this.#packed?.isAdded(id)) return new TextEncoder().encode(token);
    return bytesOf(token, this.#tokenizer.decoder, this.#packed !== null);
  }

  /** A decoder that is fed one id at a time and never gives half a character. */
  stream(): DecodeStream {
    return new DecodeStream({
      decode: (ids) => this.decode(ids),
      shows: (id) => this.#shows(id),
      holds: (id) => this.#wholeRuns && /^<0x[0-9A-F]{2}>$/.test(this.#tokenizer.id_to_token(id) ?? ""),
      bytes: (id) => this.bytes(id),
    });
  }

  /** The special tokens among `names` that have a meaning of their own. */
  #usualTokens(): SpecialTokens {
    const named = (name: string) => this.#special.specialId(name);
    const first = (usual: string[]) => usual.find((name) => named(name) !== undefined) ?? "";
    const end = first(TABLES.endTokens);
    const ends = new Set(TABLES.endTokens.filter((name) => named(name) !== undefined));
    for (const { others, name } of TABLES.notEnds) {
      const hidden = others.every((other) => this.#tokenizer.token_to_id(other) !== undefined);
      if (hidden && name !== end) ends.delete(name);
    }
    return { begin: first(TABLES.beginTokens), end, ends: Array.from(ends, (name) => named(name) ?? -1) };
  }

  #shows(id: number): boolean {
    return !this.#special.isSpecial(id) && this.#tokenizer.id_to_token(id) !== undefined;
  }
}

function parse(file: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(file));
  } catch (error) {
    throw new MlrError("TokenizerError", `tokenizer.json: ${messageOf(error)}`, { cause: error });
  }
}

/** Vocabulary, merges and added tokens empty. */
function leaveOutTables(json: TokenizerJson): void {
  if (json.model.type === "Unigram") throw new MlrError("TokenizerError", "tokenizer.json: Unigram has no packed tables");
  json.added_tokens = [];
  json.model.vocab = {};
  json.model.merges = [];
}

function listSpecial({ added_tokens: added }: TokenizerJson): Special {
  const special = added.filter((token) => token.special);
  const ids = new Set(special.map(({ id }) => id));
  const byName = new Map(special.map(({ id, content }) => [content, id]));
  return { isSpecial: (id) => ids.has(id), specialId: (text) => byName.get(text) };
}

type TextDecoding = Pick<TextDecoder, "decode">;

/** A run of bytes is UTF-8 as a whole, or each of its bytes is replaced. */
const RUNS: TextDecoding = {
  decode: (bytes?: Uint8Array<ArrayBuffer>) => {
    try {
      return new TextDecoder("utf-8", { ignoreBOM: true, fatal: true }).decode(bytes);
    } catch {
      return REPLACEMENT.repeat(bytes?.length ?? 0);
    }
  },
};

/** The decoder of byte tokens, whose own text decoder loses U+FEFF. */
function findByteFallback(decoder: Decoder | null): { text_decoder: TextDecoding } | null {
  if (decoder instanceof ByteFallbackDecoder) return decoder;
  if (!(decoder instanceof SequenceDecoder)) return null;
  for (const one of decoder.decoders) {
    const found = findByteFallback(one);
    if (found) return found;
  }
  return null;
}

/** Unpaired surrogates, which UTF-8 cannot hold, become U+FFFD. */
function wellFormed(text: string): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text));
}
