/**
 * Reads a packed tokenizer, which `mlr-build` writes and `mlr.tokenizer.packed` describes: tables
 * that are used where they lie in the file's bytes. They are taken for hostile.
 */
import { messageOf } from "../shared/errors";
import { Merges } from "./merges";
import { Scores } from "./scores";
import { broken, Vocabulary } from "./vocabulary";

const MAGIC = "MLRTOK\0\x03";
const START = MAGIC.length + 4; // where the first section begins
/** The sections in their order, and the bytes of one of each. */
const SECTIONS = {
  order: 4,
  scores: 4,
  falling: 4,
  merges: 8,
  ranks: 4,
  lengths: 1, // or 2
  buckets: 1,
  types: 1,
  texts: 1,
};
const NEEDED: Section[] = ["order", "lengths", "buckets", "types", "texts"];

type Section = keyof typeof SECTIONS;

export interface PackedTokenizer {
  vocabulary: Vocabulary;
  /** Null for a kind without. */
  merges: Merges | null;
  /** Null for a kind without. */
  scores: Scores | null;
}

/** The tables in `bytes`, which are from now on theirs. Throws `TokenizerError`. */
export function readPacked(bytes: Uint8Array<ArrayBuffer>): PackedTokenizer {
  const places = findSections(bytes);
  const part = (name: Section) => places.get(name) ?? { start: 0, size: 0 };
  const octets = (name: Section) => bytes.subarray(part(name).start, part(name).start + part(name).size);
  const words = (name: Section) => {
    const { start, size } = part(name);
    return new Uint32Array(bytes.buffer, bytes.byteOffset + start, size / 4);
  };
  const lengths = octets("lengths");
  const types = octets("types");
  const wide = lengths.length === 2 * types.length;
  const vocabulary = new Vocabulary(bytes, {
    lengths: wide ? new Uint16Array(bytes.buffer, lengths.byteOffset, types.length) : lengths,
    order: words("order"),
    buckets: octets("buckets"),
    types,
    textsStart: part("texts").start,
    textsEnd: part("texts").start + part("texts").size,
  });
  const { buffer, byteOffset, length } = words("scores");
  const listed = new Float32Array(buffer, byteOffset, length);
  return {
    vocabulary,
    merges: places.has("merges") ? new Merges(words("merges"), words("ranks")) : null,
    scores: places.has("scores") ? new Scores(listed, words("falling"), vocabulary.size) : null,
  };
}

/** Where the sections are. */
function findSections(bytes: Uint8Array): Map<Section, { start: number; size: number }> {
  if (bytes.length < START || String.fromCharCode(...bytes.subarray(0, MAGIC.length)) !== MAGIC) {
    throw broken(
      "the file does not begin as a packed tokenizer does, or was written by another version of mlr-build: " +
        "make the bundle anew",
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = bytes.length - view.getUint32(MAGIC.length, true);
  if (end < START) throw broken("the file ends within its header");
  const sizes = readSizes(bytes.subarray(end));
  const places = new Map<Section, { start: number; size: number }>();
  let start = START;
  for (const [name, width] of Object.entries(SECTIONS) as [Section, number][]) {
    const size = sizes[name];
    if (size === undefined) continue;
    if (size % width) throw broken(`${size} bytes of ${name} are no whole number of them`);
    places.set(name, { start, size });
    start += size;
  }
  if (start !== end) throw broken("the sections are not as long as the file");
  return places;
}

/** The sizes that a header gives. */
function readSizes(header: Uint8Array): Partial<Record<Section, number>> {
  let content: { sections?: unknown } | null;
  try {
    content = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(header)) as { sections?: unknown } | null;
  } catch (error) {
    throw broken(`the header is not JSON: ${messageOf(error)}`);
  }
  const sizes = content?.sections;
  if (
    typeof sizes !== "object" ||
    sizes === null ||
    !NEEDED.every((name) => name in sizes) ||
    !Object.keys(sizes).every((name) => Object.hasOwn(SECTIONS, name)) ||
    !Object.values(sizes).every((size) => Number.isSafeInteger(size) && size >= 0) ||
    "scores" in sizes !== "falling" in sizes ||
    "merges" in sizes !== "ranks" in sizes
  ) {
    throw broken("the header does not list the sections that there must be");
  }
  return sizes;
}
