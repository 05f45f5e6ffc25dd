import { Kernel } from "../kernel/kernel";
import { compileKernel, type KernelModule } from "../kernel/module";
import { readVariant } from "../shards/read";
import { ShardStore } from "../shards/store";
import type { VariantSpec } from "../shards/variant";
import { MlrError, messageOf } from "../shared/errors";

const PROGRESS_MS = 60; // between two reports

type OnProgress = (stage: "fetch" | "load", done: number, total: number) => void;

/** What Python finds as the module `mlr_host`: `mlr.hosts.pyodide` is the other side. */
export class PythonHost {
  readonly isolated = self.crossOriginIsolated;
  readonly cores = navigator.hardwareConcurrency;
  /** GiB that the device has, a coarse number; 0 where the browser does not tell. */
  readonly deviceMemory = (navigator as { deviceMemory?: number }).deviceMemory ?? 0;
  /** What the user should know about how the model was loaded. */
  readonly notices: string[] = [];
  readonly #base: URL;
  #module: Promise<KernelModule> | undefined;

  /** `base` is the directory that the page's files are served from. */
  constructor(base: URL) {
    this.#base = base;
  }

  /** The body of a URL, of at most `limit` bytes and one more. */
  async readUrl(url: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    try {
      const response = await fetch(url, { cache: "no-cache" });
      if (!response.ok) throw new Error(`the server answered ${response.status} ${response.statusText}`);
      const declared = Number(response.headers.get("Content-Length") ?? 0);
      if (declared > limit && !response.headers.has("Content-Encoding")) {
        throw new Error(`it has ${declared} bytes, at most ${limit} are allowed`);
      }
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length > limit) throw new Error(`it has ${bytes.length} bytes, at most ${limit} are allowed`);
      return bytes;
    } catch (error) {
      throw new MlrError("FetchError", `${url}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Bytes that a model takes: total, weights, KV cache, the rest. */
  async plan(descriptor: Uint8Array, contextLength: number, threads: number): Promise<number[]> {
    return Kernel.plan(await this.#kernelModule(), descriptor, contextLength, threads);
  }

  /** A kernel with the variant's weights in place. */
  async open(
    specification: string,
    descriptor: Uint8Array,
    contextLength: number,
    threads: number,
    totalBytes: number,
    onProgress: OnProgress,
  ): Promise<Kernel> {
    const spec = JSON.parse(specification) as VariantSpec;
    const [module, store] = await Promise.all([this.#kernelModule(), ShardStore.open()]);
    const script = new URL("thread.js", this.#base);
    const kernel = await Kernel.open(module, script, descriptor, contextLength, threads, totalBytes);
    try {
      const fetched = throttle(onProgress, "fetch");
      const loaded = throttle(onProgress, "load");
      for await (const { offset, bytes } of readVariant(spec, store, fetched)) {
        kernel.feed(offset, bytes);
        loaded(offset + bytes.length, spec.size);
      }
      kernel.ready();
    } catch (error) {
      kernel.close();
      throw error;
    }
    if (store === null) {
      this.notices.push("This browser keeps no files for this page, so the model is downloaded each time.");
    } else if (store.full) {
      this.notices.push("The browser's storage is full: part of the model is downloaded again next time.");
    }
    return kernel;
  }

  #kernelModule(): Promise<KernelModule> {
    this.#module ??= compileKernel(new URL("kernel/", this.#base));
    return this.#module;
  }
}

/** Report at most every `PROGRESS_MS`, and the end. */
function throttle(onProgress: OnProgress, stage: "fetch" | "load"): (done: number, total: number) => void {
  let last = 0;
  return (done, total) => {
    const now = performance.now();
    if (now - last < PROGRESS_MS && done < total) return;
    last = now;
    onProgress(stage, done, total);
  };
}
