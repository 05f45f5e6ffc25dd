/** The package with what the tests of all hosts need besides. Not exported by the package. */
import type { Model } from "./model";

export * from "./index";
export { buildDescriptor } from "../runner/descriptor";
export { parseManifest } from "../runner/manifest";
export { readPacked } from "../runner/packed";
export { TextTokenizer } from "../runner/tokenizer";

/** The logits after the last of `ids`. */
export async function logits(model: Model, ids: number[]): Promise<Float32Array> {
  // eslint-disable-next-line @typescript-eslint/dot-notation -- not for callers, so it is protected
  return (await model["connection"].ask({ type: "logits", ids }).answer) as Float32Array;
}
