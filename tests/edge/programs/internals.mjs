/** What the package does inside: `internals.mjs PACKAGE TASKS`, both URLs; prints the answers as JSON. */
import { readFile } from "node:fs/promises";
import { argv } from "node:process";
import { isDeepStrictEqual } from "node:util";

const [, , location, file] = argv;
const { buildDescriptor, MlrError, parseManifest, readTokenizerFile, TextTokenizer } = await import(location);

const tasks = {
  descriptor: ({ config, tensors }) => Buffer.from(buildDescriptor(config, tensors)).toString("hex"),
  manifest: ({ text }) => parseManifest(text, "manifest.json").name,
  tokenizer: ({ file, fromGguf, special, texts, ids }) => {
    const tokenizer = new TextTokenizer(Buffer.from(file), fromGguf, special);
    const stream = (sequence) => {
      const decoding = tokenizer.stream();
      return [...sequence.map((id) => decoding.push(id)), decoding.flush()].join("");
    };
    return {
      encoded: texts.map((text) => tokenizer.encode(text, true)),
      plain: texts.map((text) => tokenizer.encode(text, false)),
      decoded: ids.map((sequence) => tokenizer.decode(sequence)),
      streamed: ids.map(stream),
      ends: Array.from(tokenizer.endIds),
      begin: tokenizer.beginToken,
      end: tokenizer.endToken,
    };
  },
  tokenizerFiles: ({ files }) => files.map((file) => wayOfReading(Buffer.from(file, "base64"))),
};

/** How a tokenizer.json was read, or that it says something else than for `JSON.parse`. */
function wayOfReading(bytes) {
  let [expected, found] = [null, null];
  try {
    expected = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // `found` has to be null, too
  }
  try {
    found = readTokenizerFile(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (!found?.tables) return isDeepStrictEqual(expected, found && found.json) ? "parsed" : "different";
  const { vocabulary, merges } = found.tables;
  const ids = Array.from({ length: vocabulary.size }, (_, id) => id).filter((id) => vocabulary.token(id) !== undefined);
  const tokens = new Map(ids.map((id) => [vocabulary.token(id), id]));
  if (ids.some((id) => vocabulary.id(vocabulary.token(id)) !== id)) return "different";
  const ranks = merges && new Map();
  for (const left of ids) {
    for (const right of merges ? ids : []) {
      const rank = merges.rank(left, right);
      if (rank !== undefined) ranks.set(pairKey([vocabulary.token(left), vocabulary.token(right)]), rank);
    }
  }
  const model = expected?.model;
  const same =
    isDeepStrictEqual(tokens, new Map(Object.entries(model?.vocab ?? {}))) &&
    (!merges || isDeepStrictEqual(ranks, new Map(model?.merges.map((merge, rank) => [pairKey(merge), rank])))) &&
    isDeepStrictEqual(found.json, { ...expected, model: { ...model, vocab: {}, ...(merges && { merges: [] }) } });
  return same ? "tables" : "different";
}

/** A merge, whichever way it is written. */
function pairKey(merge) {
  return JSON.stringify(typeof merge === "string" ? merge.split(" ") : merge);
}

const answers = JSON.parse(await readFile(new URL(file), "utf8")).map(({ task, ...input }) => {
  try {
    return tasks[task](input);
  } catch (error) {
    if (!(error instanceof MlrError)) throw error;
    return { error: error.name, code: error.code, message: error.message };
  }
});
console.log(JSON.stringify(answers));
