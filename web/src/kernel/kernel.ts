import { MlrError, messageOf } from "../shared/errors";
import { instantiate, type KernelExports, type KernelModule } from "./module";
import { startThreads } from "./threads";

const PAGE = 65536;
const PLANNER_PAGES = 64; // enough for the module's own data
const ABI_VERSION = 1;

/** A kernel function answered with a negative number; Python has a sentence for each. */
export class KernelError extends Error {
  override readonly name = "KernelError";

  constructor(
    readonly code: number,
    readonly asked: string,
  ) {
    super(`${asked} answered ${code}`);
  }
}

/** A kernel's memory with instance 0 on it, and workers with further instances. */
export class Kernel {
  readonly detail: string;
  readonly #memory: WebAssembly.Memory;
  readonly #bytes: Uint8Array;
  readonly #exports: KernelExports;
  #workers: Worker[] = [];
  #closed = false;

  private constructor(module: KernelModule, pages: number, threads: number) {
    this.#memory = reserve(pages);
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.#exports = instantiate(module.module, this.#memory);
    const simd = module.build === "relaxed" ? "relaxed SIMD" : "SIMD";
    this.detail = `${simd}, ${threads} thread${threads > 1 ? "s" : ""}, browser`;
    if (this.#exports.mlr_abi() !== ABI_VERSION) {
      throw new MlrError("LoadError", "the kernel and the page are of different versions: rebuild the page");
    }
  }

  /** Bytes that a model takes: total, weights, KV cache, the rest. */
  static plan(module: KernelModule, descriptor: Uint8Array, contextLength: number, threads: number): number[] {
    const planner = new Kernel(module, PLANNER_PAGES, threads);
    planner.#layOut(descriptor, contextLength, threads);
    return [0, 1, 2, 3].map((kind) => planner.#exports.mlr_bytes(kind));
  }

  /** A kernel with its memory laid out and its threads waiting, ready to be fed. */
  static async open(
    module: KernelModule,
    threadScript: URL,
    descriptor: Uint8Array,
    contextLength: number,
    threads: number,
    totalBytes: number,
  ): Promise<Kernel> {
    const kernel = new Kernel(module, Math.ceil(totalBytes / PAGE), threads);
    kernel.#layOut(descriptor, contextLength, threads);
    kernel.#workers = await startThreads(threadScript, module.module, kernel.#memory, threads);
    return kernel;
  }

  #layOut(descriptor: Uint8Array, contextLength: number, threads: number): void {
    if (descriptor.length > this.#exports.mlr_staging_size()) {
      throw new MlrError("LoadError", `the model has too many tensors (${descriptor.length} bytes of them)`);
    }
    this.write(this.#exports.mlr_staging() >>> 0, descriptor);
    check(
      this.#exports.mlr_open(descriptor.length, contextLength, threads),
      `mlr_open(${contextLength}, ${threads})`,
    );
  }

  /** Take bytes of the variant's file that begin at `offset`; calls come in file order. */
  feed(offset: number, bytes: Uint8Array): void {
    const [staging, room] = [this.#exports.mlr_staging() >>> 0, this.#exports.mlr_staging_size()];
    for (let start = 0; start < bytes.length; start += room) {
      const part = bytes.subarray(start, start + room);
      this.write(staging, part);
      check(
        this.#guard("mlr_feed", () => this.#exports.mlr_feed(offset + start, part.length)),
        `mlr_feed(${offset + start}, ${part.length})`,
      );
    }
  }

  /** After the last byte: the model can be evaluated. */
  ready(): void {
    check(this.#guard("mlr_ready", () => this.#exports.mlr_ready()), "mlr_ready()");
  }

  /** Call an export of instance 0 by its name. */
  call(name: string, ...values: number[]): number {
    const exported = (this.#exports as unknown as Record<string, (...values: number[]) => number | undefined>)[
      name
    ];
    if (this.#closed || !exported) throw new MlrError("EngineError", `${name}: the model is closed; load it again`);
    return this.#guard(name, () => exported(...values)) ?? 0;
  }

  /** Copy bytes into memory. */
  write(address: number, bytes: Uint8Array): void {
    this.#within(address, bytes.length);
    this.#bytes.set(bytes, address);
  }

  /** A copy of bytes in memory. */
  read(address: number, size: number): Uint8Array<ArrayBuffer> {
    this.#within(address, size);
    const copy = new Uint8Array(size);
    copy.set(this.#bytes.subarray(address, address + size));
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
    if (!(address >= 0 && size >= 0 && address + size <= this.#bytes.length)) {
      throw new MlrError("EngineError", `${size} bytes at ${address} lie outside the kernel's memory`);
    }
  }

  /** A trap leaves this instance unusable; the other threads must not wait for it for ever. */
  #guard<T>(name: string, run: () => T): T {
    try {
      return run();
    } catch (error) {
      this.#exports.mlr_abort();
      throw new MlrError("EngineError", `${name} failed in the kernel: ${messageOf(error)}; load the model again`, {
        cause: error,
      });
    }
  }
}

function check(code: number, asked: string): void {
  if (code < 0) throw new KernelError(code, asked);
}

function reserve(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (error) {
    throw new MlrError(
      "CapacityError",
      `the browser refused ${((pages * PAGE) / 1e6).toFixed(0)} MB of memory for the model ` +
        `(${messageOf(error)}): close other tabs, or load with a smaller contextLength or quantization`,
      { cause: error },
    );
  }
}
