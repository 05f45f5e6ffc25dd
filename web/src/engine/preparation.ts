/**
 * Weights on their way into a kernel while Python is still starting.
 *
 * What Python is going to ask for follows from the manifest and the caller's options, and JavaScript
 * reads both as Python does. Python decides all the same: what has been prepared is used if it is
 * exactly what Python asks for, and whatever goes wrong before that is left to Python to find.
 */
import type { Kernel } from "../kernel/kernel";
import { type Layout, MAX_MEMORY, MAX_MEMORY_64, plan } from "../kernel/layout";
import { Loading, type Means } from "../kernel/loading";
import type { OnProgress, Stored } from "../kernel/weights";
import { buildDescriptor } from "../runner/descriptor";
import type { Bundle } from "../runner/bundle";
import type { VariantSpec } from "../shards/variant";
import type { EngineOptions } from "../shared/protocol";

const DEFAULT_CONTEXT = 4096; // as in `mlr.engines.context`

/** What a kernel is made of. */
export interface Wanted extends Layout {
  specification: VariantSpec;
}

export class Preparation {
  readonly #wanted: Wanted;
  readonly #loading: Loading;
  readonly #reports: { to?: OnProgress };

  private constructor(wanted: Wanted, loading: Loading, reports: { to?: OnProgress }) {
    this.#wanted = wanted;
    this.#loading = loading;
    this.#reports = reports;
  }

  /**
   * Begin with the weights of a bundle for `threads` threads; null for a model that takes more
   * memory than `available` bytes.
   */
  static async begin(
    bundle: Bundle,
    { contextLength, memoryLimit = Infinity }: EngineOptions,
    threads: number,
    available: number,
    means: Means,
  ): Promise<Preparation | null> {
    const { contextLength: longest, variant } = bundle.manifest;
    const descriptor = buildDescriptor(variant.config, variant.tensors);
    const options = {
      contextLength: contextLength ?? Math.min(longest, DEFAULT_CONTEXT),
      threads,
      sequences: 1,
      flags: 0,
    };
    const [total = Infinity] = await plan(means.builds, { descriptor, options });
    const addressed = means.builds.wide ? MAX_MEMORY_64 : MAX_MEMORY;
    if (options.contextLength > longest || total > Math.min(addressed, memoryLimit, available)) return null;
    const specification = bundle.specification();
    const reports: { to?: OnProgress } = {};
    const loading = await Loading.begin({ descriptor, options, total }, specification, means, (...progress) => {
      reports.to?.(...progress);
    });
    return new Preparation({ specification, descriptor, options }, loading, reports);
  }

  /**
   * The kernel with its weights in place, and how they are stored; null, and nothing is left of it,
   * if another one is wanted.
   */
  async take(wanted: Wanted, onProgress: OnProgress): Promise<[Kernel, Stored] | null> {
    if (identity(wanted) === identity(this.#wanted)) {
      this.#reports.to = onProgress;
      return this.#loading.finish();
    }
    await this.#loading.finish().catch(() => undefined); // two must not store the same files at once
    this.#loading.cancel();
    return null;
  }
}

function identity({ specification, descriptor, options }: Wanted): string {
  const { name, location, size, chunkSize, start, shards } = specification;
  const files = shards.map(({ url, size, sha256, chunks }) => [url, size, sha256, chunks]);
  const { contextLength, threads, sequences, flags } = options;
  const numbers = [contextLength, threads, sequences, flags];
  return JSON.stringify([name, location, size, chunkSize, start, files, Array.from(descriptor), numbers]);
}
