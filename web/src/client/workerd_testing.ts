/** As `testing.ts`, for edge workers. */
import type { Model } from "./model";

export * from "./workerd";

/** The logits after the last of `ids`. */
export async function logits(model: Model, ids: number[]): Promise<Float32Array> {
  // eslint-disable-next-line @typescript-eslint/dot-notation -- not for callers, so it is protected
  return (await model["connection"].ask({ type: "logits", ids }).answer) as Float32Array;
}
