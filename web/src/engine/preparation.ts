/**
 * Weights on their way into a kernel while Python is still starting.
 *
 * What Python is going to ask for follows from the manifest and the caller's options, and JavaScript
 * reads both as Python does. Python decides all the same: what has been prepared is used if it is
 * exactly what Python asks for, and whatever goes wrong before that is left to Python to find.
 */
import type { Helpers } from "../kernel/helpers";
import { Kernel, type KernelOptions, MAX_MEMORY, MAX_MEMORY_64 } from "../kernel/kernel";
import type { KernelBuilds } from "../kernel/module";
import type { OnProgress, Stored } from "../kernel/weights";
import { buildDescriptor } from "../runner/descriptor";
import type { Bundle } from "../runner/bundle";
import type { Network } from "../shards/network";
import type { VariantSpec } from "../shards/variant";
import type { EngineOptions } from "../shared/protocol";

const DEFAULT_CONTEXT = 4096; // as in `mlr.engines.context`

/** What the weights are loaded with. */
export interface Means {
  builds: KernelBuilds;
  network: Network;
  helpers: Helpers;
}

/** What a kernel is made of. */
export interface Wanted {
  specification: VariantSpec;
  descriptor: Uint8Array;
  options: KernelOptions;
}

export class Preparation {
  readonly #wanted: Wanted;
  readonly #kernel: Kernel;
  readonly #loading: Promise<Stored>;
  #onProgress: OnProgress | undefined;

  private constructor(wanted: Wanted, kernel: Kernel, { network, helpers }: Means) {
    this.#wanted = wanted;
    this.#kernel = kernel;
    this.#loading = kernel.load(wanted.specification, network, helpers, (stage, done, total) => {
      this.#onProgress?.(stage, done, total);
    });
    this.#loading.catch(() => undefined); // whoever takes it hears of it
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
    const [total = Infinity] = await Kernel.plan(means.builds, descriptor, options);
    const addressed = means.builds.wide ? MAX_MEMORY_64 : MAX_MEMORY;
    if (options.contextLength > longest || total > Math.min(addressed, memoryLimit, available)) return null;
    const kernel = await Kernel.open(means.builds, descriptor, options, total);
    return new Preparation({ specification: bundle.specification(), descriptor, options }, kernel, means);
  }

  /**
   * The kernel with its weights in place, and how they are stored; null, and nothing is left of it,
   * if another one is wanted.
   */
  async take(wanted: Wanted, onProgress: OnProgress): Promise<[Kernel, Stored] | null> {
    if (identity(wanted) !== identity(this.#wanted)) {
      await this.#loading.catch(() => undefined);
      this.#kernel.close();
      return null;
    }
    this.#onProgress = onProgress;
    try {
      return [this.#kernel, await this.#loading];
    } catch (error) {
      this.#kernel.close();
      throw error;
    }
  }
}

function identity({ specification, descriptor, options }: Wanted): string {
  const { name, location, size, chunkSize, start, shards } = specification;
  const files = shards.map(({ url, size, sha256, chunks }) => [url, size, sha256, chunks]);
  const { contextLength, threads, sequences, flags } = options;
  const numbers = [contextLength, threads, sequences, flags];
  return JSON.stringify([name, location, size, chunkSize, start, files, Array.from(descriptor), numbers]);
}
