/** mlr in JavaScript: `import { load } from "/mlr.js"`, or `globalThis.mlr.load`. */
import * as cache from "./cache";
import { load } from "./load";

export type { CacheEntry } from "./cache";
export type { LoadOptions } from "./load";
export type { Model } from "./model";
export type { TokenStream } from "./stream";
export type * from "../shared/protocol";
export { MlrError } from "../shared/errors";
export { cache, load };

declare global {
  var mlr: { load: typeof load; cache: typeof cache };
}

globalThis.mlr = { load, cache };
