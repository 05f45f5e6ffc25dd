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
  seed?: number;
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
  | { type: "embed"; id: number; texts: string[] }
  | { type: "logits"; id: number; ids: number[] }
  | { type: "close"; id: number };

export type Reply =
  | { type: "progress"; progress: LoadProgress }
  | { type: "token"; id: number; token: number; text: string }
  | { type: "done"; id: number; value: unknown }
  | { type: "failed"; id: number; name: string; message: string };
