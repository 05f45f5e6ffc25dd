import { platform } from "#platform";
import type { WorkerPort } from "../platform/platform";
import { MlrError } from "../shared/errors";
import { check, guarded } from "./feeder";
import type { Helper, Helpers } from "./helpers";
import type { Instance } from "./layout";
import type { KernelExports, KernelModule } from "./module";
import { startThread } from "./threads";

const BUILDS = { relaxed: "relaxed SIMD", simd: "SIMD", relaxed64: "relaxed SIMD, 64-bit addresses" };

/** A kernel's memory with instance 0 on it, and workers with further instances. */
export class Kernel {
  readonly detail: string;
  readonly #module: WebAssembly.Module;
  readonly #memory: WebAssembly.Memory;
  readonly #exports: KernelExports;
  readonly #threads: number;
  readonly #workers: WorkerPort[] = [];
  #closed = false;

  /** On memory that holds the weights. */
  constructor({ build, module }: KernelModule, { memory, exports }: Instance, threads: number) {
    this.#module = module;
    this.#threads = threads;
    this.#memory = memory;
    this.#exports = exports;
    this.detail = `${BUILDS[build]}, ${threads} thread${threads > 1 ? "s" : ""}, ${platform.name}`;
  }

  /**
   * Start the threads; then the model can be evaluated. The first of them is the worker that has
   * loaded the weights, if one has: it ends when there is one thread.
   */
  async start(loader: Helper | null, helpers: Helpers): Promise<void> {
    const started: Promise<void>[] = [];
    for (let index = 1; index < this.#threads; index++) {
      started.push(this.#startThread(index === 1 && loader ? loader : helpers.take(), index));
    }
    if (this.#threads === 1) loader?.port.terminate();
    await Promise.all(started);
    check(
      guarded(this.#exports, "mlr_ready", () => this.#exports.mlr_ready()),
      "mlr_ready()",
    );
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
