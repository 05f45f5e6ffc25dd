import { platform } from "#platform";
import { Kernel } from "../kernel/kernel";
import { Helpers } from "../kernel/helpers";
import { openBuilds, hasMemory64, type KernelBuilds } from "../kernel/module";
import type { OnProgress } from "../kernel/weights";
import { STALL_MS } from "../shards/network";
import type { VariantSpec } from "../shards/variant";
import { MlrError, messageOf } from "../shared/errors";

const NOT_STORED = {
  some: "The browser's storage is full: part of the model is downloaded again next time.",
  none: "This browser keeps no files for this page, so the model is downloaded each time.",
};

/** What Python finds as the module `mlr_host`: `mlr.hosts.pyodide` is the other side. */
export class PythonHost {
  readonly isolated = self.crossOriginIsolated;
  readonly cores = navigator.hardwareConcurrency;
  /** GiB that the device has, a coarse number; 0 where the browser does not tell. */
  readonly deviceMemory = (navigator as { deviceMemory?: number }).deviceMemory ?? 0;
  /** Whether a model may take more memory than 32 bits address. */
  readonly memory64 = hasMemory64;
  /** What the user should know about how the model was loaded. */
  readonly notices: string[] = [];
  readonly #builds: KernelBuilds;
  readonly #threads: Helpers;
  readonly #loaders: Helpers;

  /**
   * `base` is the directory that the page's files are served from; `threads` is how many are
   * likely to be asked for. Everything that needs no model is begun at once.
   */
  constructor(base: URL, threads: number) {
    const start = (script: string) => () => new Worker(new URL(script, base), { type: "module" });
    this.#builds = openBuilds({
      relaxed: new URL("kernel/kernel-relaxed.wasm", base),
      simd: new URL("kernel/kernel-simd.wasm", base),
      relaxed64: new URL("kernel/kernel-relaxed64.wasm", base),
    });
    this.#threads = new Helpers("thread", start("thread.js"), this.isolated ? threads - 1 : 0);
    this.#loaders = new Helpers("loader", start("loader.js"), this.isolated ? 1 : 0);
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
  plan(
    descriptor: Uint8Array,
    contextLength: number,
    threads: number,
    sequences: number,
    flags: number,
  ): Promise<number[]> {
    return Kernel.plan(this.#builds, descriptor, { contextLength, threads, sequences, flags });
  }

  /** A kernel with the variant's weights in place. */
  async open(
    specification: string,
    descriptor: Uint8Array,
    contextLength: number,
    threads: number,
    sequences: number,
    flags: number,
    totalBytes: number,
    onProgress: OnProgress,
  ): Promise<Kernel> {
    const spec = JSON.parse(specification) as VariantSpec;
    const options = { contextLength, threads, sequences, flags };
    const kernel = await Kernel.open(this.#builds, descriptor, options, totalBytes);
    try {
      const stored = await kernel.load(spec, { fetch: platform.fetch, stallMs: STALL_MS }, this.#threads, this.#loaders, onProgress);
      if (stored !== "all") this.notices.push(NOT_STORED[stored]);
    } catch (error) {
      kernel.close();
      throw error;
    } finally {
      this.#threads.close();
    }
    return kernel;
  }
}
