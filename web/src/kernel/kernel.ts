import { platform } from "#platform";
import type { WorkerPort } from "../platform/platform";
import { MlrError, messageOf } from "../shared/errors";
import type { Network } from "../shards/network";
import type { VariantSpec } from "../shards/variant";
import { check, Feeder, guarded } from "./feeder";
import type { Helper, Helpers } from "./helpers";
import { instantiate, type KernelBuilds, type KernelExports, type KernelModule } from "./module";
import { startThread } from "./threads";
import { loadWeights, loadWeightsInWorker, type OnProgress, type Stored } from "./weights";

const PAGE = 65536;
const PLANNER_PAGES = 64; // enough for any descriptor and the tables made of it
const ABI_VERSION = 3;

/** Bytes that a memory with addresses of 32 bits can have, and of 64 as the kernel is linked. */
export const MAX_MEMORY = 65535 * PAGE;
export const MAX_MEMORY_64 = 262144 * PAGE;

/** What a model is laid out for: `contextLength` tokens of each sequence; flags of `mlr_open`. */
export interface KernelOptions {
  contextLength: number;
  threads: number;
  sequences: number;
  flags: number;
}

/** A kernel's memory with instance 0 on it, and workers with further instances. */
export class Kernel {
  readonly detail: string;
  readonly #module: WebAssembly.Module;
  readonly #memory: WebAssembly.Memory;
  readonly #exports: KernelExports;
  readonly #threads: number;
  readonly #workers: WorkerPort[] = [];
  #closed = false;

  private constructor(module: KernelModule, pages: number, threads: number) {
    this.#module = module.module;
    this.#threads = threads;
    this.#memory = reserve(pages, module.build === "relaxed64");
    this.#exports = instantiate(module.module, this.#memory);
    const build = { relaxed: "relaxed SIMD", simd: "SIMD", relaxed64: "relaxed SIMD, 64-bit addresses" }[module.build];
    this.detail = `${build}, ${threads} thread${threads > 1 ? "s" : ""}, ${platform.name}`;
    if (this.#exports.mlr_abi() !== ABI_VERSION) {
      throw new MlrError("LoadError", "the kernel and its host are of different versions: build both anew");
    }
  }

  /**
   * Bytes that a model takes: total, weights, KV cache, the rest. What 32 bits do not address is
   * laid out for the build that addresses 64, where it runs; `open` then takes that.
   */
  static async plan(builds: KernelBuilds, descriptor: Uint8Array, options: KernelOptions): Promise<number[]> {
    const sizes = Kernel.#measure(await builds.usual, descriptor, options);
    const [total = 0] = sizes;
    return total > MAX_MEMORY && builds.wide ? Kernel.#measure(await builds.wide(), descriptor, options) : sizes;
  }

  static #measure(module: KernelModule, descriptor: Uint8Array, options: KernelOptions): number[] {
    const planner = new Kernel(module, PLANNER_PAGES, options.threads);
    planner.#layOut(descriptor, options);
    return [0, 1, 2, 3].map((kind) => planner.#exports.mlr_bytes(kind));
  }

  /** A kernel with `totalBytes` of memory as planned, laid out, ready for `load`. */
  static async open(
    builds: KernelBuilds,
    descriptor: Uint8Array,
    options: KernelOptions,
    totalBytes: number,
  ): Promise<Kernel> {
    const module = await (totalBytes > MAX_MEMORY && builds.wide ? builds.wide() : builds.usual);
    const kernel = new Kernel(module, Math.ceil(totalBytes / PAGE), options.threads);
    kernel.#layOut(descriptor, options);
    return kernel;
  }

  #layOut(descriptor: Uint8Array, { contextLength, threads, sequences, flags }: KernelOptions): void {
    if (descriptor.length > this.#exports.mlr_staging_size()) {
      throw new MlrError("LoadError", `the model has too many tensors (${descriptor.length} bytes of them)`);
    }
    this.write(this.#exports.mlr_staging(), descriptor);
    check(
      this.#exports.mlr_open(descriptor.length, contextLength, threads, sequences, flags),
      `mlr_open(${contextLength}, ${threads}, ${sequences}, ${flags})`,
    );
  }

  /**
   * Put a variant's weights in place and start the threads; then the model can be evaluated. The first
   * of the helpers, if there are any, loads before it computes, and this thread is free meanwhile.
   */
  async load(
    spec: VariantSpec,
    network: Network,
    helpers: Helpers,
    onProgress: OnProgress,
  ): Promise<Stored> {
    const [module, memory] = [this.#module, this.#memory];
    const first = helpers.count > 0 ? helpers.take() : null;
    if (first) this.#workers.push(first.port);
    const weights = first
      ? loadWeightsInWorker(first, { spec, stallMs: network.stallMs, module, memory }, onProgress)
      : loadWeights(spec, new Feeder(this.#exports, memory), network, onProgress);
    const started: Promise<void>[] = [];
    for (let index = 2; index < this.#threads; index++) started.push(this.#startThread(helpers.take(), index));
    const [stored] = await Promise.all([weights, ...started]);
    if (first && this.#threads > 1) await this.#startThread(first, 1);
    else first?.port.terminate();
    check(
      guarded(this.#exports, "mlr_ready", () => this.#exports.mlr_ready()),
      "mlr_ready()",
    );
    return stored;
  }

  async #startThread(helper: Helper, index: number): Promise<void> {
    helper.failure.catch(() => {
      if (!this.#closed) this.#exports.mlr_abort(); // what is asked next is refused instead of waiting
    });
    this.#workers.push(helper.port);
    await startThread(helper, { module: this.#module, memory: this.#memory, index });
  }

  /** Call an export of instance 0 by its name. */
  call(name: string, ...values: number[]): number {
    const exported = (this.#exports as unknown as Record<string, (...values: number[]) => number | undefined>)[
      name
    ];
    if (this.#closed || !exported) throw new MlrError("EngineError", `${name}: the model is closed; load it again`);
    return guarded(this.#exports, name, () => exported(...values)) ?? 0;
  }

  /** Copy bytes into memory. */
  write(address: number, bytes: Uint8Array): void {
    this.#within(address, bytes.length);
    new Uint8Array(this.#memory.buffer, address, bytes.length).set(bytes);
  }

  /** A copy of bytes in memory. */
  read(address: number, size: number): Uint8Array<ArrayBuffer> {
    this.#within(address, size);
    const copy = new Uint8Array(size);
    copy.set(new Uint8Array(this.#memory.buffer, address, size));
    return copy;
  }

  /** End the threads. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#exports.mlr_close();
    for (const worker of this.#workers) worker.terminate();
  }

  #within(address: number, size: number): void {
    if (!(address >= 0 && size >= 0 && address + size <= this.#memory.buffer.byteLength)) {
      throw new MlrError("EngineError", `${size} bytes at ${address} lie outside the kernel's memory`);
    }
  }
}

function reserve(pages: number, wide: boolean): WebAssembly.Memory {
  const [initial, maximum] = [pages, pages];
  const descriptor = wide
    ? { initial: BigInt(initial), maximum: BigInt(maximum), shared: true, address: "i64" }
    : { initial, maximum, shared: true };
  try {
    return new WebAssembly.Memory(descriptor as WebAssembly.MemoryDescriptor); // its type knows no BigInt
  } catch (error) {
    throw new MlrError(
      "CapacityError",
      `the host refused ${((pages * PAGE) / 1e6).toFixed(0)} MB of memory for the model ` +
        `(${messageOf(error)}): free some, or load with a smaller contextLength or quantization`,
      { cause: error },
    );
  }
}
