import { scope } from "#scope";
import { Helpers } from "../kernel/helpers";
import type { Kernel } from "../kernel/kernel";
import { plan } from "../kernel/layout";
import { Loading, type Means } from "../kernel/loading";
import { openBuilds, hasMemory64, type KernelBuilds } from "../kernel/module";
import type { OnProgress, Stored } from "../kernel/weights";
import { Bundle } from "../runner/bundle";
import { type Network, STALL_MS } from "../shards/network";
import type { VariantSpec } from "../shards/variant";
import { fetchWhole } from "../shards/whole";
import type { EngineOptions } from "../shared/protocol";
import { Preparation, type Wanted } from "./preparation";

const MAX_MANIFEST_BYTES = 16 * 2 ** 20;

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
  readonly #helpers: Helpers;
  readonly #network: Network = { fetch: scope.fetch, stallMs: STALL_MS };
  /** Files that Python is going to ask for. */
  readonly #early = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  #preparation: Promise<Preparation | null> = Promise.resolve(null);

  /**
   * `base` is the directory that the page's files are served from; `threads` is how many are
   * likely to be asked for. Everything that needs no model is begun at once.
   */
  constructor(base: URL, threads: number) {
    this.#builds = openBuilds({
      relaxed: new URL("kernel/kernel-relaxed.wasm", base),
      simd: new URL("kernel/kernel-simd.wasm", base),
      relaxed64: new URL("kernel/kernel-relaxed64.wasm", base),
    });
    const count = this.isolated ? Math.max(threads - 1, 1) : 0;
    this.#helpers = new Helpers(() => new Worker(new URL("thread.js", base), { type: "module" }), count);
  }

  /**
   * Begin to load what Python is going to load, for `threads` threads. Without memory that workers
   * share it would have to wait for this thread, which Python takes.
   */
  prepare(url: string, threads: number, options: EngineOptions): void {
    if (!this.isolated) return;
    this.#preparation = this.#prepare(url, threads, options).catch(() => null);
  }

  async #prepare(url: string, threads: number, options: EngineOptions): Promise<Preparation | null> {
    const fetch = async (place: string) => {
      const bytes = fetchWhole(place, MAX_MANIFEST_BYTES, this.#network);
      this.#early.set(place, bytes);
      return new Response(await bytes);
    };
    const bundle = await Bundle.open(url, { fetch, stallMs: STALL_MS }, null);
    const available = this.deviceMemory * 2 ** 30 || Infinity;
    return Preparation.begin(bundle, options, threads, available, this.#means());
  }

  /** The body of a URL, of at most `limit` bytes. Rejects with a `FetchError`. */
  readUrl(url: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const early = this.#early.get(url);
    this.#early.delete(url);
    return early ?? fetchWhole(url, limit, this.#network);
  }

  /** Free what `readUrl` gave now; the collector would take until memory is scarce. */
  release(bytes: Uint8Array<ArrayBuffer>): void {
    // browsers of before 2024 have no such method
    (bytes.buffer as { transfer?: (length: number) => ArrayBuffer }).transfer?.(0);
  }

  /** Bytes that a model takes: total, weights, KV cache, the rest. */
  plan(
    descriptor: Uint8Array,
    contextLength: number,
    threads: number,
    sequences: number,
    flags: number,
  ): Promise<number[]> {
    return plan(this.#builds, { descriptor, options: { contextLength, threads, sequences, flags } });
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
    const wanted = {
      specification: JSON.parse(specification) as VariantSpec,
      descriptor,
      options: { contextLength, threads, sequences, flags },
    };
    try {
      const preparation = await this.#preparation;
      const [kernel, stored] =
        (await preparation?.take(wanted, onProgress)) ?? (await this.#load(wanted, totalBytes, onProgress));
      if (stored !== "all") this.notices.push(NOT_STORED[stored]);
      return kernel;
    } finally {
      this.#helpers.close();
    }
  }

  async #load(
    { specification, ...layout }: Wanted,
    total: number,
    onProgress: OnProgress,
  ): Promise<[Kernel, Stored]> {
    const loading = await Loading.begin({ ...layout, total }, specification, this.#means(), onProgress);
    return loading.finish();
  }

  #means(): Means {
    return { builds: this.#builds, network: this.#network, helpers: this.#helpers };
  }
}
