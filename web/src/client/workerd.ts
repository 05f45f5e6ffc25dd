/**
 * mlr in an edge worker: `import { load } from "mlr"` where the condition `workerd` holds. There
 * are no workers inside a worker, so the model runs in the caller's thread, between its turns.
 */
import { Connection } from "../api/connection";
import { loadThrough } from "../api/model";
import { asOptions } from "../api/options";
import { locate } from "#platform";
import { scope } from "#scope";
import type { WorkerPort } from "../platform/platform";
import { Runner } from "../runner/runner";
import type { Fetch } from "../scope/scope";
import { STALL_MS } from "../shards/network";
import { MlrError } from "../shared/errors";
import type { ModelInfo, Reply, Request } from "../shared/protocol";
import type { LoadOptions as UsualOptions } from "./load";
import { Model } from "./model";

export type { Generating } from "../api/model";
export type { Embedding, Model } from "./model";
export type { TokenStream } from "../api/stream";
export type * from "../shared/protocol";
export { MlrError } from "../shared/errors";

export interface LoadOptions extends UsualOptions {
  /** The kernel: `import module from "mlr/kernel-relaxed.wasm"`. It cannot be compiled from bytes. */
  module: WebAssembly.Module;
  /** Where files come from instead of the network, such as `(url, init) => env.ASSETS.fetch(url, init)`. */
  fetch?: Fetch;
}

/** As elsewhere, with the kernel's module. A bundle's location is a URL, also with a `fetch` of one's own. */
export async function load(location: string | URL, options: LoadOptions): Promise<Model> {
  const start = performance.now();
  const { onProgress, signal, module, fetch = scope.fetch, ...engineOptions } = asOptions(options);
  signal?.throwIfAborted();
  if (!(module instanceof WebAssembly.Module)) {
    throw new MlrError("RequestError", 'module must be the kernel: import module from "mlr/kernel-relaxed.wasm"');
  }
  const url = locate(location).href;
  const connection = new Connection(inThisThread(module, fetch), onProgress);
  const request = { type: "load", url, options: engineOptions } as const;
  return new Model(await loadThrough<ModelInfo>(connection, request, signal, start), connection);
}

/** A runner as if it were a worker. */
function inThisThread(module: WebAssembly.Module, fetch: Fetch): WorkerPort {
  let listener: (message: unknown) => void = () => undefined;
  let ended = false;
  // what is gone is not asked for again, so a load that was given up ends
  const whileWanted: Fetch = (url, init) => (ended ? Promise.resolve(new Response(null, { status: 410 })) : fetch(url, init));
  const runner = new Runner(
    (stallMs = STALL_MS) => ({
      network: { fetch: whileWanted, stallMs },
      builds: { usual: Promise.resolve({ build: "relaxed", module }), wide: null },
    }),
    (reply: Reply) => {
      listener(reply);
    },
  );
  return {
    post: (message) => {
      runner.handle(message as Request);
    },
    onMessage: (heard) => {
      listener = heard;
    },
    onFailure: () => undefined,
    keepAlive: () => undefined,
    terminate: () => {
      ended = true;
    },
  };
}
