import { locate, platform } from "#platform";
import { Connection } from "../api/connection";
import { loadThrough } from "../api/model";
import { asOptions } from "../api/options";
import { MlrError } from "../shared/errors";
import type { EngineOptions, LoadProgress, ModelInfo } from "../shared/protocol";
import { Model } from "./model";

export interface LoadOptions extends EngineOptions {
  /** Hears how far loading is. What it throws ends the load, which rejects with it. */
  onProgress?: (progress: LoadProgress) => void;
  /** Aborting it ends the load; what a browser has downloaded is kept. */
  signal?: AbortSignal;
  /** Milliseconds without any bytes after which a request has stalled and is made again: 30,000. */
  timeout?: number;
}

/**
 * Load the bundle in a folder (Node, Deno) or at a URL, in a worker of its own. `threads` defaults
 * to the cores there are, at most 8; `contextLength` to the model's, at most 4096.
 *
 * Rejects with `MlrError`; its `code` says what is wrong: `fetch`, `manifest`, `integrity`,
 * `format`, `capacity`, `unsupported-model`, `load`, `tokenizer`, `template`, `request`, `engine`.
 */
export async function load(location: string | URL, options: LoadOptions = {}): Promise<Model> {
  const start = performance.now();
  const { onProgress, signal, ...engineOptions } = asOptions(options);
  signal?.throwIfAborted();
  if ("isSecureContext" in globalThis && !isSecureContext) {
    throw new MlrError(
      "LoadError",
      "mlr verifies what it loads, for which this page has to be in a secure context: " +
        "open it over https, or on this machine as http://localhost",
    );
  }
  const url = locate(location).href;
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const connection = new Connection(platform.connect(worker), onProgress);
  const request = { type: "load", url, options: engineOptions } as const;
  return new Model(await loadThrough<ModelInfo>(connection, request, signal, start), connection);
}
