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

/**
 * Puts weights into a kernel whose memory has been laid out, through one of its instances. Bytes of
 * the variant's file are taken in the file's order.
 */
export class Feeder {
  /** Where bytes lie that are taken; more than a chunk has. */
  readonly room: Uint8Array;
  readonly #exports: KernelExports;

  constructor(exports: KernelExports, memory: WebAssembly.Memory) {
    this.#exports = exports;
    this.room = new Uint8Array(memory.buffer, exports.mlr_staging(), exports.mlr_staging_size());
  }

  /** Take bytes that begin at `offset`. */
  feed(offset: number, bytes: Uint8Array): void {
    for (let start = 0; start < bytes.length; start += this.room.length) {
      const part = bytes.subarray(start, start + this.room.length);
      this.room.set(part);
      this.take(offset + start, part.length);
    }
  }

  /** Take the first `length` bytes of `room`, which begin at `offset`. */
  take(offset: number, length: number): void {
    const asked = `mlr_feed(${offset}, ${length})`;
    check(
      guarded(this.#exports, asked, () => this.#exports.mlr_feed(offset, length)),
      asked,
    );
  }
}
