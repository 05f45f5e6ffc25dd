import { locate, platform } from "#platform";
import { MlrError } from "../shared/errors";
import type { EngineOptions, LoadProgress, PythonModelInfo } from "../shared/protocol";
import { Connection } from "./connection";
import { loadThrough, Model } from "./model";
import { asOptions } from "./options";

export interface LoadOptions extends EngineOptions {
  /** Hears how far loading is. What it throws ends the load, which rejects with it. */
  onProgress?: (progress: LoadProgress) => void;
  /** Aborting it ends the load; what has been downloaded is kept. */
  signal?: AbortSignal;
}

/**
 * Load the bundle at a URL (relative to the page), in a worker of its own. `threads` defaults to
 * the cores there are, at most 8; without cross-origin isolation there is one.
 *
 * Rejects with `MlrError`: `FetchError`, `ManifestError`, `IntegrityError`, `CapacityError`,
 * `UnsupportedModelError`, `TokenizerError`, `RequestError`, `EngineError`.
 */
export async function load(bundleUrl: string | URL, options: LoadOptions = {}): Promise<Model<PythonModelInfo>> {
  const start = performance.now();
  const { onProgress, signal, ...engineOptions } = asOptions(options);
  signal?.throwIfAborted();
  if (!isSecureContext) {
    throw new MlrError(
      "LoadError",
      `mlr needs a secure context to verify what it loads, and ${location.origin} is not one: ` +
        "open the page over https, or on this machine as http://localhost",
    );
  }
  const url = locate(bundleUrl).href;
  const worker = new Worker(new URL("./engine.js", import.meta.url), { type: "module" });
  const connection = new Connection(platform.connect(worker), onProgress);
  const request = { type: "load", url, options: engineOptions } as const;
  const info = await loadThrough<PythonModelInfo>(connection, request, signal, start);
  return new Model(info, connection);
}
