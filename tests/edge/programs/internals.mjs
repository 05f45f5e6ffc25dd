/** What the package does inside: `internals.mjs PACKAGE TASKS`, both URLs; prints the answers as JSON. */
import { readFile } from "node:fs/promises";
import { argv } from "node:process";

const [, , location, file] = argv;
const { buildDescriptor, MlrError, parseManifest, TextTokenizer } = await import(location);

const tasks = {
  descriptor: ({ config, tensors }) => Buffer.from(buildDescriptor(config, tensors)).toString("hex"),
  manifest: ({ text }) => parseManifest(text, "manifest.json").name,
  tokenizer: ({ json, fromGguf, special, texts, ids }) => {
    const tokenizer = new TextTokenizer(json, fromGguf, special);
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
};

const answers = JSON.parse(await readFile(new URL(file), "utf8")).map(({ task, ...input }) => {
  try {
    return tasks[task](input);
  } catch (error) {
    if (!(error instanceof MlrError)) throw error;
    return { error: error.name, code: error.code, message: error.message };
  }
});
console.log(JSON.stringify(answers));
