/** mlr in JavaScript, without Python: `import { load } from "mlr"`. */
export { load, type LoadOptions } from "./load";
export type { Generating } from "../api/model";
export type { Model } from "./model";
export type { Token, TokenStream } from "../api/stream";
export type {
  Chat,
  Completion,
  GenerateOptions,
  License,
  LoadProgress,
  Message,
  ModelInfo,
  Prompt,
  Timings,
} from "../shared/protocol";
export { MlrError } from "../shared/errors";
