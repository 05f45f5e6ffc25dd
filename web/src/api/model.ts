import { MlrError } from "../shared/errors";
import type {
  Completion,
  EngineOptions,
  GenerateOptions,
  LoadProgress,
  ModelInfo,
  Prompt,
} from "../shared/protocol";
import { Connection } from "./connection";
import { TokenStream } from "./stream";

const CLOSE_MS = 1000; // how long a worker may take to end by itself

export interface LoadOptions extends EngineOptions {
  onProgress?: (progress: LoadProgress) => void;
  /** Aborting it ends the load; what has been downloaded is kept. */
  signal?: AbortSignal;
}

/** A loaded model. It runs one generation at a time; further ones wait for their turn. */
export class Model {
  readonly info: ModelInfo;
  readonly #connection: Connection;
  #closing: Promise<void> | undefined;

  constructor(info: ModelInfo, connection: Connection) {
    this.info = info;
    this.#connection = connection;
  }

  /** Generate a whole completion. */
  async generate(prompt: Prompt, options: GenerateOptions = {}): Promise<Completion> {
    const { answer } = this.#connection.ask({ type: "generate", prompt, options, tokens: false });
    return this.#completion((await answer) as Completion | null);
  }

  /** Generate token by token. The engine starts when the first token is asked for. */
  stream(prompt: Prompt, options: GenerateOptions = {}): TokenStream {
    return new TokenStream({
      start: (onToken) => {
        const { id, answer } = this.#connection.ask({ type: "generate", prompt, options, tokens: true }, onToken);
        return {
          answer: answer.then((value) => (value === null ? null : this.#completion(value as Completion))),
          stop: () => {
            this.#connection.stop(id);
          },
        };
      },
    });
  }

  /** The token ids of a text, with the model's own begin token unless `addSpecial` is false. */
  async tokenize(text: string, { addSpecial = true } = {}): Promise<number[]> {
    return (await this.#connection.ask({ type: "tokenize", text, addSpecial }).answer) as number[];
  }

  /** Stop every generation and free the model. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = this.#connection.ask({ type: "close" }).answer.catch(() => undefined);
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, CLOSE_MS))]);
    this.#connection.end(new MlrError("EngineError", "the model is closed; load it again"));
  }

  #completion(completion: Completion | null): Completion {
    if (completion === null) throw new MlrError("EngineError", "the generation was stopped: the model was closed");
    completion.timings.loadMs = this.info.loadMs;
    return completion;
  }
}

/**
 * Load the bundle at a URL (relative to the page), in a worker of its own. `threads` defaults to
 * the cores there are, at most 8; without cross-origin isolation there is one.
 *
 * Rejects with `MlrError`: `FetchError`, `ManifestError`, `IntegrityError`, `CapacityError`,
 * `UnsupportedModelError`, `TokenizerError`, `RequestError`, `EngineError`.
 */
export async function load(bundleUrl: string | URL, options: LoadOptions = {}): Promise<Model> {
  const start = performance.now();
  const { onProgress, signal, ...engineOptions } = options;
  signal?.throwIfAborted();
  if (!isSecureContext) {
    throw new MlrError(
      "LoadError",
      `mlr needs a secure context to verify what it loads, and ${location.origin} is not one: ` +
        "open the page over https, or on this machine as http://localhost",
    );
  }
  const connection = new Connection(onProgress);
  const onAbort = () => {
    connection.end(new MlrError("LoadError", "loading was aborted"));
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const url = new URL(bundleUrl, location.href).href;
    const info = await connection.ask({ type: "load", url, options: engineOptions }).answer;
    return new Model({ ...(info as ModelInfo), loadMs: performance.now() - start }, connection);
  } catch (error) {
    connection.end(new MlrError("LoadError", "the model was not loaded"));
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}
