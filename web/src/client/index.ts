/** mlr in JavaScript, without Python: `import { load } from "mlr"`. */
export { load, type LoadOptions } from "./load";
export type { Generating } from "../api/model";
export type { Embedding, Model } from "./model";
export type { TokenStream } from "../api/stream";
export type {
  Alternative,
  Chat,
  Completion,
  EmbedOptions,
  Embeddings,
  GenerateOptions,
  License,
  LoadProgress,
  Message,
  ModelInfo,
  Prompt,
  Timings,
  Token,
} from "../shared/protocol";
export { MlrError } from "../shared/errors";
