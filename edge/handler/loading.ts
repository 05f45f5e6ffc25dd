import type { Model } from "mlr";
import { ApiError } from "./errors";
import type { Context } from "./handler";
import { LOAD_TIMEOUT } from "./limits";

/**
 * A model that is loaded once, with the first request that needs it, and anew after a failure. A
 * load that was taken for lost and ends after all is of use, unless another was faster.
 */
export class Loading {
  readonly #load: () => Promise<Model>;
  #loading: Promise<Model> | undefined;
  #loaded: Model | undefined;

  constructor(load: () => Promise<Model>) {
    this.#load = load;
  }

  async model(context: Context): Promise<Model> {
    if (this.#loaded) return this.#loaded;
    if (!this.#loading) {
      this.#loading = this.#begin();
      context.waitUntil?.(this.#loading.catch(() => undefined));
    }
    const loading = this.#loading;
    try {
      return await withTimeout(loading);
    } finally {
      if (this.#loading === loading) this.#loading = undefined;
    }
  }

  async #begin(): Promise<Model> {
    const model = await this.#load();
    if (!this.#loaded) return (this.#loaded = model);
    void model.close();
    return this.#loaded;
  }

  /** An error of a request that used `model`: when it is its engine's, nobody else gets that model. */
  failed(model: Model, error: unknown): void {
    if (!(error instanceof Error) || error.name !== "EngineError") return;
    if (this.#loaded !== model) return; // another request has said so
    this.#loaded = undefined;
    void model.close();
  }
}

/** A load that its host has ended with the request that began it would be waited for for ever. */
async function withTimeout(model: Promise<Model>): Promise<Model> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const headers = { "Retry-After": "5" };
      reject(new ApiError(503, "the model has not been loaded in time; try again", { headers }));
    }, LOAD_TIMEOUT);
  });
  try {
    return await Promise.race([model, late]);
  } finally {
    clearTimeout(timer);
  }
}
