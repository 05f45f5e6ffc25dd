import { MlrError } from "../shared/errors";
import type { Network } from "../shards/network";
import type { VariantSpec } from "../shards/variant";
import { Feeder, KernelError } from "./feeder";
import type { Helper, Helpers } from "./helpers";
import { Kernel } from "./kernel";
import { buildFor, type Instance, layOut, type PlannedLayout } from "./layout";
import { instantiate, type KernelBuilds, type KernelModule } from "./module";
import { loadWeights, type OnProgress, type Stored } from "./weights";

/** What weights are loaded with. */
export interface Means {
  builds: KernelBuilds;
  network: Network;
  helpers: Helpers;
}

/** Begins a worker's loading. */
export interface LoaderRequest {
  type: "load";
  spec: VariantSpec;
  stallMs: number;
  module: KernelModule;
  layout: PlannedLayout;
}

/** Asks a worker for the memory, when the weights are in it. */
export interface HandOverRequest {
  type: "hand over";
}

export type LoaderReply =
  | { type: "progress"; stage: "fetch" | "load"; done: number; total: number }
  | { type: "loaded"; memory: WebAssembly.Memory; stored: Stored }
  | { type: "failed"; name: string; message: string }
  | { type: "refused"; code: number; asked: string };

type Loaded = [Instance, Stored];

/**
 * Weights on their way into memory. The first of the helpers, if there are any, makes the memory and
 * loads before it computes; this thread is free meanwhile.
 *
 * This thread gets to see such memory only in the end. Firefox has a worker collect when much memory
 * comes to it, and then not soon again: Python's start leaves 20 MB to collect.
 */
export class Loading {
  readonly #module: KernelModule;
  readonly #threads: number;
  readonly #helpers: Helpers;
  readonly #loader: Helper | null;
  readonly #loaded: Promise<Loaded>;
  #kernel: Kernel | undefined;

  private constructor(
    module: KernelModule,
    layout: PlannedLayout,
    spec: VariantSpec,
    { network, helpers }: Means,
    onProgress: OnProgress,
  ) {
    this.#module = module;
    this.#threads = layout.options.threads;
    this.#helpers = helpers;
    this.#loader = helpers.count > 0 ? helpers.take() : null;
    this.#loaded = this.#loader
      ? loadInWorker(this.#loader, { spec, stallMs: network.stallMs, module, layout }, onProgress)
      : loadHere(layOut(module, layout), spec, network, onProgress);
    this.#loaded.catch(() => undefined); // whoever finishes hears of it
  }

  /** Begin with the weights of `spec`. Throws what `layOut` does, where no helper does that. */
  static async begin(layout: PlannedLayout, spec: VariantSpec, means: Means, onProgress: OnProgress): Promise<Loading> {
    return new Loading(await buildFor(layout.total, means.builds), layout, spec, means, onProgress);
  }

  /**
   * The kernel with its weights in place and its threads started, and how the weights are stored.
   * When that fails nothing is left of it.
   */
  async finish(): Promise<[Kernel, Stored]> {
    this.#loader?.port.post({ type: "hand over" } satisfies HandOverRequest);
    try {
      const [instance, stored] = await this.#loaded;
      this.#kernel = new Kernel(this.#module, instance, this.#threads);
      await this.#kernel.start(this.#loader, this.#helpers);
      return [this.#kernel, stored];
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  /** Leave nothing of it: end the workers that it has begun with, also those of the kernel. */
  cancel(): void {
    this.#loader?.port.terminate();
    this.#kernel?.close();
  }
}

async function loadHere(
  instance: Instance,
  spec: VariantSpec,
  network: Network,
  onProgress: OnProgress,
): Promise<Loaded> {
  const feeder = new Feeder(instance.exports, instance.memory);
  return [instance, await loadWeights(spec, feeder, network, onProgress)];
}

function loadInWorker(
  { port, failure }: Helper,
  request: Omit<LoaderRequest, "type">,
  onProgress: OnProgress,
): Promise<Loaded> {
  const loaded = new Promise<Loaded>((resolve, reject) => {
    port.onMessage((message) => {
      const data = message as LoaderReply;
      switch (data.type) {
        case "progress":
          onProgress(data.stage, data.done, data.total);
          break;
        case "loaded": {
          const { memory, stored } = data;
          resolve([{ memory, exports: instantiate(request.module.module, memory) }, stored]);
          break;
        }
        case "failed":
          reject(new MlrError(data.name, data.message));
          break;
        case "refused":
          reject(new KernelError(data.code, data.asked));
          break;
      }
    });
  });
  port.post({ type: "load", ...request } satisfies LoaderRequest);
  return Promise.race([loaded, failure]);
}
