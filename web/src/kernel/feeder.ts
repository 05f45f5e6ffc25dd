import { MlrError, messageOf } from "../shared/errors";
import type { KernelExports } from "./module";

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

/** Throws `KernelError` for a negative answer. */
export function check(code: number, asked: string): void {
  if (code < 0) throw new KernelError(code, asked);
}

/** Call an export; after a trap, the other threads must not wait for this one for ever. */
export function guarded<T>(exports: KernelExports, name: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    exports.mlr_abort();
    throw new MlrError("EngineError", `${name} failed in the kernel: ${messageOf(error)}; load the model again`, {
      cause: error,
    });
  }
}

/** Puts weights into a kernel whose memory has been laid out, through one of its instances. */
export class Feeder {
  readonly #exports: KernelExports;
  readonly #staging: Uint8Array;

  constructor(exports: KernelExports, memory: WebAssembly.Memory) {
    this.#exports = exports;
    this.#staging = new Uint8Array(memory.buffer, exports.mlr_staging(), exports.mlr_staging_size());
  }

  /** Take bytes of the variant's file that begin at `offset`; calls come in file order. */
  feed(offset: number, bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; start += this.#staging.length) {
      const part = bytes.subarray(start, start + this.#staging.length);
      this.#staging.set(part);
      const asked = `mlr_feed(${offset + start}, ${part.length})`;
      check(
        guarded(this.#exports, asked, () => this.#exports.mlr_feed(offset + start, part.length)),
        asked,
      );
    }
  }
}
