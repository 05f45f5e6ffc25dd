/** A bundle's manifest, as far as running the model needs it, checked: it comes from the network. */
import { MlrError, messageOf } from "../shared/errors";
import type { License } from "../shared/protocol";
import type { ShardSpec } from "../shards/variant";
import { Checked } from "./checked";
import type { TensorEntry } from "./descriptor";
import { TABLES } from "./tables";

const MAX_BYTES = 2 ** 42;
const MAX_SMALL_FILE = 256 * 2 ** 20;
const MAX_SHARDS = 2 ** 16;
const MAX_TENSORS = 2 ** 16;
const MAX_PROMPTS = 256;
const SHA256 = /^[0-9a-f]{64}$/;
// Every segment begins with a letter, a digit or _, so none can be "..", a root or another origin.
const PATH = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(\/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,7}$/;

export interface FileEntry {
  file: string;
  size: number;
  sha256: string;
}

/** A shard with its path in the bundle; `variant.ts` has the URL instead. */
export type Shard = Omit<ShardSpec, "url"> & { file: string };

export interface Variant {
  quantization: string;
  size: number;
  chunkSize: number;
  shards: Shard[];
  /** The model's hyperparameters, by their names in the manifest. */
  config: Record<string, unknown>;
  tensors: TensorEntry[];
}

/** What the manifest says of the tokenizer; old ones say nothing. */
export interface SpecialTokens {
  /** Ids that end a generation. */
  ends: number[];
  /** Texts of the tokens that begin and end a text, as chat templates want them. */
  begin: string;
  end: string;
}

/** How texts are made into embeddings, as the model's own files say. */
export interface EmbeddingSettings {
  /** A longer text is cut; null: the context's length. */
  maxTokens: number | null;
  /** Texts to put in front of a text, by what they are for. */
  prompts: ReadonlyMap<string, string>;
  defaultPrompt: string | null;
}

export interface TokenizerFiles {
  /** A tokenizer.json. */
  json: FileEntry;
  /** What it leaves out, packed; null: it leaves out nothing. */
  tables: FileEntry | null;
}

export interface Manifest {
  name: string;
  architecture: string;
  parameters: number;
  contextLength: number;
  license: License;
  tokenizer: TokenizerFiles;
  specialTokens: SpecialTokens | null;
  chatTemplate: FileEntry | null;
  embedding: EmbeddingSettings | null;
  /** The first variant for the kernel. */
  variant: Variant;
}

/** Read a manifest; `where` names it in errors. Throws `ManifestError`, `UnsupportedModelError`. */
export function parseManifest(text: string, where: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new MlrError("ManifestError", `${where}: is not valid JSON: ${messageOf(error)}`, { cause: error });
  }
  const top = new Checked(value, where, "");
  if (top.raw("schema") !== TABLES.schema) throw top.error("schema", `must be ${TABLES.schema}; this is not an mlr bundle`);
  const version = top.integer("schema_version", 1, 2 ** 31);
  if (version > TABLES.schemaVersion) {
    throw top.error("schema_version", `is ${version}, and this mlr reads up to ${TABLES.schemaVersion}: upgrade mlr`);
  }
  if (version < 2) {
    // its configuration leaves out what Python knows of the architecture, and it has no tokenizer.json
    throw top.error("schema_version", "is 1: clients without Python need a bundle that mlr-build has packaged anew");
  }
  const license = top.object("license");
  return {
    name: top.text("name", /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/),
    architecture: top.text("architecture", /^[^]{1,64}$/),
    parameters: top.integer("parameters", 1, MAX_BYTES),
    contextLength: top.integer("context_length", 1, 2 ** 30),
    license: { id: license.text("id"), notice: license.text("notice"), url: license.optionalText("url") },
    tokenizer: tokenizer(top),
    specialTokens: top.has("special_tokens") ? specialTokens(top.object("special_tokens")) : null,
    chatTemplate: top.has("chat_template") ? file(top.object("chat_template")) : null,
    embedding: top.has("embedding") ? embedding(top.object("embedding")) : null,
    variant: kernelVariant(top),
  };
}

function tokenizer(top: Checked): TokenizerFiles {
  const entry = top.object("tokenizer");
  const format = entry.text("format");
  if (format === "huggingface") return { json: file(entry), tables: null };
  if (format === "packed" && top.has("tokenizer_json")) {
    return { json: file(top.object("tokenizer_json")), tables: file(entry) };
  }
  const problem =
    format === "packed"
      ? "is of a kind that only Python reads: use mlr in Python"
      : "has an old format: package the model anew with a current mlr-build";
  throw new MlrError("UnsupportedModelError", `${top.where}: tokenizer: ${problem}`);
}

function specialTokens(entry: Checked): SpecialTokens {
  const ends = entry.list("ends", 2 ** 10);
  if (!ends.every((id) => Number.isInteger(id))) throw entry.error("ends", "must be ids of tokens");
  const text = (name: string) => (entry.has(name) ? entry.object(name).text("text", /^[^]{0,65536}$/) : "");
  return { ends: ends as number[], begin: text("bos"), end: text("eos") };
}

function embedding(entry: Checked): EmbeddingSettings {
  const texts = entry.object("prompts");
  const names = Object.keys(texts.all());
  if (names.length > MAX_PROMPTS) throw entry.error("prompts", `must be at most ${MAX_PROMPTS}`);
  const settings = {
    maxTokens: entry.has("max_tokens") ? entry.integer("max_tokens", 1, 2 ** 30) : null,
    prompts: new Map(names.map((name) => [name, texts.text(name)])),
    defaultPrompt: entry.optionalText("default_prompt"),
  };
  if (settings.defaultPrompt !== null && !settings.prompts.has(settings.defaultPrompt)) {
    throw entry.error("default_prompt", "is not among the prompts");
  }
  return settings;
}

function file(entry: Checked): FileEntry {
  return {
    file: entry.text("file", PATH),
    size: entry.integer("size", 0, MAX_SMALL_FILE),
    sha256: entry.text("sha256", SHA256),
  };
}

function kernelVariant(top: Checked): Variant {
  const entry = top
    .objects("variants", 16)
    .find((variant) => variant.raw("format") === "gguf" && variant.list("engines", 16).includes("kernel"));
  if (!entry) throw new MlrError("UnsupportedModelError", `${top.where}: no variant of this bundle is for the kernel`);
  const chunkSize = entry.integer("chunk_size", 2 ** 12, 2 ** 20);
  const variant: Variant = {
    quantization: entry.text("quantization", /^[A-Za-z0-9_]{1,40}$/),
    size: entry.integer("size", 1, MAX_BYTES),
    chunkSize,
    shards: entry.objects("shards", MAX_SHARDS).map(shard),
    config: entry.object("config").all(),
    tensors: entry.objects("tensors", MAX_TENSORS).map(tensor),
  };
  checkShards(entry, variant);
  checkTensors(entry, variant);
  return variant;
}

function shard(entry: Checked): Shard {
  const sha256 = entry.text("sha256", SHA256);
  if (entry.raw("file") !== `shards/${sha256}`) throw entry.error("file", "must be shards/ and the shard's SHA-256");
  const chunks = entry.list("chunks", 2 ** 17);
  if (!chunks.every((chunk) => typeof chunk === "string" && SHA256.test(chunk))) {
    throw entry.error("chunks", "must be SHA-256s in lower hexadecimal digits");
  }
  return {
    file: `shards/${sha256}`,
    size: entry.integer("size", 1, MAX_BYTES),
    sha256,
    chunks: chunks as string[],
  };
}

function tensor(entry: Checked): TensorEntry {
  const shape = entry.list("shape", 4);
  if (shape.length === 0 || !shape.every((n) => Number.isInteger(n) && (n as number) > 0 && (n as number) < 2 ** 32)) {
    throw entry.error("shape", "must be 1 to 4 positive integers");
  }
  return {
    name: entry.text("name", /^.{1,64}$/),
    type: entry.text("type", /^[A-Z0-9_]{1,16}$/),
    shape: shape as number[],
    offset: entry.integer("offset", 0, MAX_BYTES),
    size: entry.integer("size", 1, MAX_BYTES),
  };
}

/** Sizes add up, and every shard but the last is whole chunks. */
function checkShards(entry: Checked, { shards, size, chunkSize }: Variant): void {
  let total = 0;
  for (const [i, { size: bytes, chunks }] of shards.entries()) {
    total += bytes;
    if (i < shards.length - 1 && bytes % chunkSize) throw entry.error(`shards[${i}].size`, "is not whole chunks");
    if (chunks.length !== Math.ceil(bytes / chunkSize)) throw entry.error(`shards[${i}].chunks`, "are not as many as fit");
  }
  if (total !== size) throw entry.error("size", `is ${size}, but the shards have ${total} bytes together`);
}

/** Inside the file and not overlapping; the kernel checks their shapes. */
function checkTensors(entry: Checked, { tensors, size }: Variant): void {
  if (tensors.length === 0) throw entry.error("tensors", "there are none");
  tensors.sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const one of tensors) {
    if (one.offset < end) throw entry.error("tensors", `${one.name} overlaps what lies before it`);
    end = one.offset + one.size;
  }
  if (end > size) throw entry.error("tensors", "the last tensor ends after the file");
}
