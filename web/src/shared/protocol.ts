/** What the page's thread and the engine's worker say to each other. */

/** How far loading is. `done` and `total` are bytes, except in the stage `start`. */
export interface LoadProgress {
  /** `start`: Python is starting (where there is one); `fetch`: weights arrive; `load`: they are in the kernel. */
  stage: "start" | "fetch" | "load";
  done: number;
  total: number;
}

export interface Timings {
  /** From the call of `load` until the model was ready, milliseconds. */
  loadMs: number;
  /** From the start of the generation until its first token, milliseconds. */
  firstTokenMs: number | null;
  promptTokensPerSecond: number | null;
  decodeTokensPerSecond: number | null;
}

/** A token and its log probability: of the model itself, before penalties and temperature. */
export interface Alternative {
  id: number;
  logprob: number;
}

/**
 * One generated token. `text` may be empty while a character is incomplete or while the text so far
 * could be the start of a stop sequence. Where `logprobs` are asked for, `logprob` is the token's
 * and `topLogprobs` are the likeliest tokens, best first; an end token has none.
 */
export interface Token {
  id: number;
  text: string;
  logprob: number | null;
  topLogprobs: Alternative[];
}

export interface Completion {
  text: string;
  tokenIds: number[];
  promptTokenIds: number[];
  /** `stop`: an end token or a stop sequence; `length`: `maxTokens`, or the context is full. */
  finishReason: "stop" | "length";
  stopSequence: string | null;
  /** Those with log probabilities; none unless `logprobs` are asked for. */
  tokens: Token[];
  timings: Timings;
}

export interface License {
  id: string;
  notice: string;
  url: string | null;
}

export interface ModelInfo {
  name: string;
  architecture: string;
  parameters: number;
  quantization: string;
  engine: string;
  /** One line on how the engine runs here. */
  engineDetail: string;
  threads: number;
  contextLength: number;
  vocabularySize: number;
  /** Bytes. */
  memory: { weights: number; kvCache: number; scratch: number; total: number };
  license: License;
  hasChatTemplate: boolean;
  loadMs: number;
  /** What the user should know, such as that only one thread computes and why. */
  notices: string[];
}

/** What is known of a model that Python runs in the page. */
export interface PythonModelInfo extends ModelInfo {
  /** Whether the page is cross-origin isolated; without it there is one thread. */
  isolated: boolean;
  /** Whether Python started from a memory snapshot. */
  fromSnapshot: boolean;
}

export interface GenerateOptions {
  maxTokens?: number;
  stop?: string | string[];
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  repeatLastN?: number;
  frequencyPenalty?: number;
  presencePenalty?: number;
  /** From 0 to 2**64 - 1; without it each generation draws its own. */
  seed?: number | bigint;
  /** How many of the likeliest tokens are wanted beside each token, 0 to 20; without it there are no log probabilities. */
  logprobs?: number;
}

export interface EmbedOptions {
  /** A prompt of the model's own files to put in front, such as `query`. */
  promptName?: string;
  /** Whether vectors have the length 1; without it as the model says. */
  normalize?: boolean;
  /** Cut texts that are longer than the model takes (the default), or refuse them. */
  truncate?: boolean;
}

export interface Embeddings {
  /** One for each text, in their order. */
  vectors: Float32Array[];
  /** How many were evaluated. */
  tokens: number;
  /** Indices of the texts that were cut. */
  truncated: number[];
}

export interface EngineOptions {
  threads?: number;
  contextLength?: number;
  /** Bytes: a model that is predicted to need more is refused. */
  memoryLimit?: number;
}

/** What somebody said; templates may read more of it, such as `tool_calls`. */
export interface Message {
  role: string;
  content: string;
  [more: string]: unknown;
}

/** Messages for the model's chat template. */
export interface Chat {
  messages: Message[];
  /** JSON schemas of functions. */
  tools?: object[];
}

/** A text (the model's begin token is added) or token ids (taken as they are). */
export type Prompt = string | number[];

export type Request =
  | { type: "load"; id: number; url: string; options: EngineOptions & { timeout?: number } }
  | { type: "generate"; id: number; prompt: Prompt | Chat; options: GenerateOptions; tokens: boolean }
  | { type: "stop"; id: number }
  | { type: "tokenize"; id: number; text: string; addSpecial: boolean }
  | { type: "detokenize"; id: number; ids: number[] }
  | { type: "bytes"; id: number; ids: number[] }
  | { type: "embed"; id: number; texts: Prompt[]; options: EmbedOptions }
  | { type: "logits"; id: number; ids: number[] }
  | { type: "close"; id: number };

export type Reply =
  | { type: "progress"; progress: LoadProgress }
  | { type: "token"; id: number; token: Token }
  | { type: "done"; id: number; value: unknown }
  | { type: "failed"; id: number; name: string; message: string };
