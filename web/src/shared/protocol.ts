/** What the page's thread and the engine's worker say to each other. */

/** How far loading is. `done` and `total` are bytes, except in the stage `start`. */
export interface LoadProgress {
  /** `start`: Python is starting; `fetch`: weights arrive; `load`: weights are in the kernel. */
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

export interface Completion {
  text: string;
  tokenIds: number[];
  promptTokenIds: number[];
  /** `stop`: an end token or a stop sequence; `length`: `maxTokens`, or the context is full. */
  finishReason: "stop" | "length";
  stopSequence: string | null;
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
  /** Whether the page is cross-origin isolated; without it there is one thread. */
  isolated: boolean;
  /** Whether Python started from a memory snapshot. */
  fromSnapshot: boolean;
  /** What the user should know, such as that only one thread computes and why. */
  notices: string[];
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
  seed?: number;
}

export interface EngineOptions {
  threads?: number;
  contextLength?: number;
  memoryLimit?: number;
}

/** A text (the model's begin token is added) or token ids (taken as they are). */
export type Prompt = string | number[];

export type Request =
  | { type: "load"; id: number; url: string; options: EngineOptions }
  | { type: "generate"; id: number; prompt: Prompt; options: GenerateOptions; tokens: boolean }
  | { type: "stop"; id: number }
  | { type: "tokenize"; id: number; text: string; addSpecial: boolean }
  | { type: "close"; id: number };

export type Reply =
  | { type: "progress"; progress: LoadProgress }
  | { type: "token"; id: number; token: number; text: string }
  | { type: "done"; id: number; value: unknown }
  | { type: "failed"; id: number; name: string; message: string };
