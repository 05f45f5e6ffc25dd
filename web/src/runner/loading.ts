/** From a bundle's URL to a model that can be evaluated: predict the memory, refuse or load. */
import { platform } from "#platform";
import { scope } from "#scope";
import { Helpers } from "../kernel/helpers";
import type { Kernel } from "../kernel/kernel";
import { MAX_MEMORY, MAX_MEMORY_64, plan as planLayout, type PlannedLayout } from "../kernel/layout";
import { Loading } from "../kernel/loading";
import type { KernelBuilds } from "../kernel/module";
import type { OnProgress, Stored } from "../kernel/weights";
import type { Network } from "../shards/network";
import { MlrError } from "../shared/errors";
import type { EngineOptions, ModelInfo } from "../shared/protocol";
import { Bundle } from "./bundle";
import { buildDescriptor } from "./descriptor";
import { Engine, type Shape } from "./engine";
import type { EmbeddingSettings, Manifest } from "./manifest";
import { TextTokenizer } from "./tokenizer";

const MAX_DEFAULT_THREADS = 8;
const MAX_THREADS = 64;
const DEFAULT_CONTEXT = 4096;
const SMALLEST_CONTEXT = 256; // the least that is worth suggesting

const NOT_STORED: Partial<Record<Stored, string>> = {
  some: "The browser's storage is full: part of the model is downloaded again next time.",
  none: "This browser keeps no files for this page, so the model is downloaded each time.",
};

export interface LoadedModel {
  info: ModelInfo;
  engine: Engine;
  tokenizer: TextTokenizer;
  chatTemplate: string | null;
  embedding: EmbeddingSettings | null;
}

/** What is shared by all models that a host loads. */
export interface Surroundings {
  network: Network;
  builds: KernelBuilds;
}

interface Plan extends PlannedLayout {
  memory: ModelInfo["memory"];
}

/** Throws `MlrError`: what `load` of `client/load.ts` documents. */
export async function loadModel(
  url: string,
  options: EngineOptions,
  surroundings: Surroundings,
  onProgress: OnProgress,
): Promise<LoadedModel> {
  const { network, builds } = surroundings;
  const wanted = chooseThreads(options.threads);
  const helpers = new Helpers(startThread, wanted - 1);
  let loading: Loading | undefined;
  try {
    const bundle = await Bundle.open(url, network, await scope.openStore(url));
    const { manifest } = bundle;
    const plan = await planFor(builds, manifest, wanted, chooseContext(manifest, options.contextLength));
    await checkMemory(plan, builds, manifest, options.memoryLimit);
    if (helpers.count > 0) scope.collectGarbage(); // while they start; later it would slow them down
    const reading = readTexts(bundle);
    const specification = { ...bundle.specification(), others: bundle.storedFiles() };
    loading = await Loading.begin(plan, specification, { builds, network, helpers }, onProgress);
    const [[kernel, stored], { tokenizer, chatTemplate }] = await Promise.all([loading.finish(), reading]);
    refuseDamaged(kernel, manifest);
    const engine = new Engine(kernel, shapeOf(manifest, plan));
    const info = describe(manifest, plan, kernel.detail, stored);
    return { info, engine, tokenizer, chatTemplate, embedding: manifest.embedding };
  } catch (error) {
    loading?.cancel();
    throw error;
  } finally {
    helpers.close();
  }
}

/** Throws `FormatError` for a vector of which nothing but nonsense comes. */
function refuseDamaged(kernel: Kernel, { variant }: Manifest): void {
  const damaged = variant.tensors[kernel.call("mlr_damaged") - 1]; // in the file's order, counted from 1
  if (!damaged) return;
  throw new MlrError(
    "FormatError",
    `tensor ${damaged.name} at byte ${damaged.offset} holds infinite numbers or NaN: the model is damaged, get it anew`,
  );
}

function startThread(): Worker {
  return new Worker(new URL("./thread.js", import.meta.url), { type: "module" });
}

async function readTexts(bundle: Bundle): Promise<{ tokenizer: TextTokenizer; chatTemplate: string | null }> {
  const { tokenizer, specialTokens, chatTemplate } = bundle.manifest;
  const [file, tables, template] = await Promise.all([
    bundle.readFile(tokenizer.json),
    tokenizer.tables ? bundle.readFile(tokenizer.tables) : null,
    chatTemplate ? bundle.readFile(chatTemplate) : null,
  ]);
  const texts = {
    tokenizer: new TextTokenizer(file, tables, specialTokens),
    chatTemplate: template && decodeTemplate(template),
  };
  scope.bytes.giveBack(file.buffer);
  return texts;
}

/** As it is, since other bytes would be another prompt. Throws `TemplateError`. */
function decodeTemplate(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new MlrError("TemplateError", "the chat template is not UTF-8", { cause: error });
  }
}

function chooseThreads(wanted: number | undefined): number {
  const threads = wanted ?? Math.max(1, Math.min(platform.cores, MAX_DEFAULT_THREADS));
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw new MlrError("RequestError", `threads must be from 1 to ${MAX_THREADS}, got ${threads}`);
  }
  return platform.sharesMemory ? threads : 1;
}

function chooseContext(manifest: Manifest, wanted: number | undefined): number {
  const longest = manifest.contextLength;
  if (wanted === undefined) return Math.min(longest, DEFAULT_CONTEXT);
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > longest) {
    throw new MlrError("RequestError", `contextLength must be from 1 to the model's ${longest}, got ${wanted}`);
  }
  return wanted;
}

async function planFor(
  builds: KernelBuilds,
  manifest: Manifest,
  threads: number,
  contextLength: number,
): Promise<Plan> {
  const { config, tensors } = manifest.variant;
  const descriptor = buildDescriptor(config, tensors);
  const options = { contextLength, threads, sequences: 1, flags: 0 };
  const [total = 0, weights = 0, kvCache = 0, scratch = 0] = await planLayout(builds, { descriptor, options });
  const memory = { weights, kvCache, scratch, total: weights + kvCache + scratch };
  return { descriptor, options, total, memory };
}

/** Throws `CapacityError`, before anything is fetched, with what would fit. */
async function checkMemory(
  plan: Plan,
  builds: KernelBuilds,
  manifest: Manifest,
  memoryLimit: number | undefined,
): Promise<void> {
  const limits: [number, string][] = [
    builds.wide
      ? [MAX_MEMORY_64, "the kernel addresses"]
      : [MAX_MEMORY, "the 32-bit WebAssembly memory of this host holds"],
  ];
  const available = await platform.memoryAvailable();
  if (available !== null) limits.push([available, "this machine has"]);
  if (memoryLimit !== undefined) limits.push([memoryLimit, "the limit given allows"]);
  const [limit, source] = limits.reduce((least, one) => (one[0] < least[0] ? one : least));
  if (plan.total <= limit) return;
  const { weights, kvCache, scratch } = plan.memory;
  const needs =
    `the model needs ${mb(plan.total)} (weights ${mb(weights)}, KV cache ${mb(kvCache)} for ` +
    `${plan.options.contextLength} tokens, scratch ${mb(scratch)}), and ${source} ${mb(limit)}`;
  for (let context = plan.options.contextLength >> 1; context >= SMALLEST_CONTEXT; context >>= 1) {
    const { total } = await planFor(builds, manifest, plan.options.threads, context);
    if (total > limit) continue;
    throw new MlrError(
      "CapacityError",
      `${needs}; a context of ${context} tokens would fit (${mb(total)}): load with contextLength: ${context}`,
    );
  }
  throw new MlrError("CapacityError", `${needs}; no context length makes it fit: use a smaller quantization`);
}

function shapeOf({ variant: { config } }: Manifest, plan: Plan): Shape {
  const { pooling = "none" } = config;
  return {
    contextLength: plan.options.contextLength,
    vocabularySize: config.n_vocab as number,
    embeddingSize: pooling === "none" ? 0 : (config.n_embd as number),
    ranks: pooling === "rank",
    normalized: config.normalize_embeddings !== false,
    causal: config.causal !== false,
  };
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes >= 1e8 ? 0 : 2)} MB`;
}

function describe(manifest: Manifest, plan: Plan, engineDetail: string, stored: Stored): ModelInfo {
  const notStored = platform.name === "browser" ? NOT_STORED[stored] : undefined;
  return {
    name: manifest.name,
    architecture: manifest.architecture,
    parameters: manifest.parameters,
    quantization: manifest.variant.quantization,
    engine: "kernel",
    engineDetail,
    threads: plan.options.threads,
    contextLength: plan.options.contextLength,
    vocabularySize: manifest.variant.config.n_vocab as number,
    memory: plan.memory,
    license: manifest.license,
    hasChatTemplate: manifest.chatTemplate !== null,
    loadMs: 0, // the caller's clock knows
    notices: [platform.threadLimitReason, notStored].filter((notice) => typeof notice === "string"),
  };
}
