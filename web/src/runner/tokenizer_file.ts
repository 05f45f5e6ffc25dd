/**
 * Reads a tokenizer.json. Of one with many tokens nearly all is the vocabulary and the merges, and
 * as JavaScript's strings, objects and maps they take ten times the file; so these two are read
 * from the bytes into tables of numbers.
 */
import { platform } from "#platform";
import { JsonScanner, Unusual } from "./json_scanner";
import { Merges } from "./merges";
import { Vocabulary } from "./vocabulary";

const MAX_UNITS = 4096; // UTF-16 code units of a token
const SPACE = 0x20;

export interface Tables {
  vocabulary: Vocabulary;
  /** Null for a model without. */
  merges: Merges | null;
}

export interface TokenizerFile {
  json: unknown;
  /** What is left out of `json`, where the model's `vocab` and `merges` are empty; null: nothing is. */
  tables: Tables | null;
}

/** Where in a file a value stands, and how many items or fields it has at most. */
interface Span {
  start: number;
  end: number;
  parts: number;
}

/** Throws `SyntaxError` for what is not JSON. */
export function readTokenizerFile(bytes: Uint8Array): TokenizerFile {
  const decoder = new TextDecoder();
  try {
    const { vocab, merges } = findTables(bytes);
    const tables = readTables(bytes, vocab, merges);
    const cuts = [{ span: vocab, empty: "{}" }, ...(merges ? [{ span: merges, empty: "[]" }] : [])];
    cuts.sort((a, b) => a.span.start - b.span.start);
    let [text, from] = ["", 0];
    for (const { span, empty } of cuts) {
      text += decoder.decode(bytes.subarray(from, span.start)) + empty;
      from = span.end;
    }
    return { json: JSON.parse(text + decoder.decode(bytes.subarray(from))), tables };
  } catch (error) {
    if (!(error instanceof Unusual)) throw error;
    return { json: JSON.parse(decoder.decode(bytes)), tables: null };
  }
}

/** Where the model's vocabulary and merges are, an object and a list. Throws `Unusual`. */
function findTables(bytes: Uint8Array): { vocab: Span; merges: Span | null } {
  const scanner = new JsonScanner(bytes);
  const found = new Map<string, Span>();
  scanner.fields((name) => {
    if (name !== "model") {
      scanner.skip();
      return;
    }
    scanner.fields((field) => {
      const wanted = field === "vocab" ? scanner.atObject : field === "merges" && scanner.atList;
      const start = scanner.at;
      const parts = scanner.skip();
      if (wanted) found.set(field, { start, end: scanner.at, parts });
    });
  });
  const vocab = found.get("vocab");
  if (!vocab) throw new Unusual("no vocabulary by token");
  return { vocab, merges: found.get("merges") ?? null };
}

/** Throws `Unusual`. */
function readTables(bytes: Uint8Array, vocab: Span, merges: Span | null): Tables {
  const vocabulary = readVocabulary(bytes, vocab);
  return { vocabulary, merges: merges && readMerges(bytes, merges, vocabulary) };
}

function readVocabulary(bytes: Uint8Array, { start, end, parts }: Span): Vocabulary {
  const scanner = new JsonScanner(bytes, start);
  const units = new Uint16Array(end - start); // each token has fewer than its field has bytes
  const starts = new Uint32Array(2 * parts);
  let [used, count, size] = [0, 0, 0];
  scanner.object(() => {
    const begin = used + 1;
    used = scanner.string(units, begin);
    units[begin - 1] = used - begin;
    scanner.colon();
    const id = scanner.integer();
    if (used - begin > MAX_UNITS || starts[id] !== 0) throw new Unusual("a long token, or an id that is high or there twice");
    starts[id] = begin;
    count++;
    size = Math.max(size, id + 1);
  });
  scanner.close(end);
  const vocabulary = Vocabulary.of(units.subarray(0, used), starts.subarray(0, size), count);
  if (!vocabulary) throw new Unusual("a token twice");
  return vocabulary;
}

/** Merges are `"left right"` or `["left", "right"]`. */
function readMerges(bytes: Uint8Array, { start, end, parts }: Span, vocabulary: Vocabulary): Merges {
  const scanner = new JsonScanner(bytes, start);
  const pairs = platform.bytes.borrow(8 * parts);
  const [lefts, rights] = [new Uint32Array(pairs, 0, parts), new Uint32Array(pairs, 4 * parts)];
  const units = new Uint16Array(2 * MAX_UNITS);
  let count = 0;
  const add = (middle: number, begin: number, stop: number) => {
    const left = vocabulary.find(units, 0, middle);
    const right = vocabulary.find(units, begin, stop);
    if (left === undefined || right === undefined) throw new Unusual("a merge of what are no tokens");
    lefts[count] = left;
    rights[count++] = right;
  };
  scanner.list(() => {
    if (scanner.atList) {
      const ends: number[] = [];
      scanner.list(() => {
        ends.push(scanner.string(units, ends.at(-1) ?? 0));
      });
      const [middle, stop] = ends;
      if (middle === undefined || stop === undefined || ends.length > 2) throw new Unusual("a merge of other than two");
      add(middle, middle, stop);
    } else {
      const stop = scanner.string(units, 0);
      const middle = onlySpace(units, stop);
      add(middle, middle + 1, stop);
    }
  });
  scanner.close(end);
  const made = new Merges(lefts.subarray(0, count), rights.subarray(0, count), vocabulary.size);
  platform.bytes.giveBack(pairs);
  return made;
}

/** Where the one space before `end` is. Throws `Unusual` where there are none or more. */
function onlySpace(units: Uint16Array, end: number): number {
  let found = -1;
  for (let i = 0; i < end; i++) {
    if (units[i] !== SPACE) continue;
    if (found >= 0) throw new Unusual("a merge with spaces");
    found = i;
  }
  if (found < 0) throw new Unusual("a merge without a space");
  return found;
}
