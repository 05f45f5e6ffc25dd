import { scope } from "#scope";
import type { Network } from "../shards/network";
import { readVariant } from "../shards/read";
import type { VariantSpec } from "../shards/variant";
import { MlrError } from "../shared/errors";
import { type Feeder, KernelError } from "./feeder";
import type { Helper } from "./helpers";

const PROGRESS_MS = 60; // between two reports

export type OnProgress = (stage: "fetch" | "load", done: number, total: number) => void;

/** Whether the weights are stored now: all, some (no more room), or none (no storage). */
export type Stored = "all" | "some" | "none";

/** Read a variant's weights, from storage or the network, into a kernel. */
export async function loadWeights(
  spec: VariantSpec,
  feeder: Feeder,
  network: Network,
  onProgress: OnProgress,
): Promise<Stored> {
  const store = await scope.openStore(spec.location);
  const fetched = throttle(onProgress, "fetch");
  const loaded = throttle(onProgress, "load");
  const start = await store?.readInto?.(spec, feeder.room, (offset, length) => {
    feeder.take(offset, length);
    loaded(offset + length, spec.size);
  });
  for await (const { offset, bytes } of readVariant({ ...spec, start: start ?? spec.start }, store, network, fetched)) {
    feeder.feed(offset, bytes);
    loaded(offset + bytes.length, spec.size);
  }
  if (store === null) return "none";
  return store.full ? "some" : "all";
}

/** Report at most every `PROGRESS_MS`, and the end. */
function throttle(onProgress: OnProgress, stage: "fetch" | "load"): (done: number, total: number) => void {
  let last = -PROGRESS_MS; // a worker's clock begins with it
  return (done, total) => {
    const now = performance.now();
    if (now - last < PROGRESS_MS && done < total) return;
    last = now;
    onProgress(stage, done, total);
  };
}

export interface LoaderRequest {
  type: "load";
  spec: VariantSpec;
  stallMs: number;
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
}

export type LoaderReply =
  | { type: "progress"; stage: "fetch" | "load"; done: number; total: number }
  | { type: "done"; stored: Stored }
  | { type: "failed"; name: string; message: string }
  | { type: "refused"; code: number; asked: string };

/**
 * `loadWeights` in a worker, with an instance of its own on the kernel's memory, so that this
 * thread can read the tokenizer meanwhile. The first instance must not be called until then:
 * the two share a stack.
 */
export function loadWeightsInWorker(
  { port, failure }: Helper,
  request: Omit<LoaderRequest, "type">,
  onProgress: OnProgress,
): Promise<Stored> {
  const done = new Promise<Stored>((resolve, reject) => {
    port.onMessage((message) => {
      const data = message as LoaderReply;
      switch (data.type) {
        case "progress":
          onProgress(data.stage, data.done, data.total);
          break;
        case "done":
          resolve(data.stored);
          break;
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
  return Promise.race([done, failure]);
}
