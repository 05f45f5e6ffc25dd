import { scope } from "#scope";
import type { Network } from "../shards/network";
import { readVariant } from "../shards/read";
import type { VariantSpec } from "../shards/variant";
import type { Feeder } from "./feeder";

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
