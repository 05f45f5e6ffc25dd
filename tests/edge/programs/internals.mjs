/** What the package does inside: `internals.mjs PACKAGE TASKS`, both URLs; prints the answers as JSON. */
import { readFile } from "node:fs/promises";
import { argv } from "node:process";

const [, , location, file] = argv;
const { buildDescriptor, MlrError, parseManifest, readPacked, TextTokenizer } = await import(location);

const programs = {
  descriptor: ({ config, tensors }) => Buffer.from(buildDescriptor(config, tensors)).toString("hex"),
  manifest: ({ text }) => parseManifest(text, "manifest.json").name,
  tokenizer: ({ file, tables, special, texts, ids, single }) => {
    const tokenizer = new TextTokenizer(Buffer.from(file), tables ? unpacked(tables) : null, special ?? null);
    const stream = (sequence) => {
      const decoding = tokenizer.stream();
      return [...sequence.map((id) => decoding.push(id)), decoding.flush()].join("");
    };
    return {
      encoded: texts.map((text) => tokenizer.encode(text, true)),
      plain: texts.map((text) => tokenizer.encode(text, false)),
      decoded: ids.map((sequence) => tokenizer.decode(sequence)),
      streamed: ids.map(stream),
      bytes: (single ?? []).map((id) => Array.from(tokenizer.bytes(id))),
      ends: Array.from(tokenizer.endIds),
      begin: tokenizer.beginToken,
      end: tokenizer.endToken,
    };
  },
  packed: ({ files }) => files.map((file) => attempt(() => readTables(unpacked(file)))),
};

/** A file's bytes from base 64, alone in their buffer. */
function unpacked(text) {
  return new Uint8Array(Buffer.from(text, "base64"));
}

/** What a packed tokenizer holds: every token with the id that is found for it, and the merges of these. */
function readTables(bytes) {
  const { vocabulary, merges, scores } = readPacked(bytes);
  const tokens = Array.from({ length: vocabulary.size }, (_, id) => vocabulary.token(id) ?? null);
  const found = tokens.map((token) => (token === null ? null : (vocabulary.id(token) ?? null)));
  const known = merges ? found.filter((id) => id !== null) : [];
  const pairs = known.flatMap((left) => known.map((right) => [left, right, merges.rank(left, right)]));
  return {
    tokens,
    found,
    added: Array.from(vocabulary.added()),
    merges: pairs.filter(([, , rank]) => rank !== undefined),
    scores: scores && tokens.map((_, id) => scores.of(id)),
  };
}

function attempt(work) {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof MlrError)) throw error;
    return { error: error.name, code: error.code, message: error.message };
  }
}

const tasks = JSON.parse(await readFile(new URL(file), "utf8"));
console.log(JSON.stringify(tasks.map(({ task, ...input }) => attempt(() => programs[task](input)))));
