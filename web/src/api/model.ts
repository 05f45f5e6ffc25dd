import { MlrError } from "../shared/errors";
import type { Chat, Completion, GenerateOptions, ModelInfo, Prompt, Token } from "../shared/protocol";
import type { Ask, Connection } from "./connection";
import { asOptions } from "./options";
import { TokenStream } from "./stream";

const CLOSE_MS = 1000; // how long a worker may take to end by itself

/** Options of a generation; aborting `signal` stops it within a token. */
export type Generating = GenerateOptions & { signal?: AbortSignal };

/** A loaded model. It runs one generation at a time; further ones wait for their turn. */
export class Model<Info extends ModelInfo = ModelInfo, AnyPrompt extends Prompt | Chat = Prompt> {
  readonly info: Info;
  protected readonly connection: Connection;
  #closing: Promise<void> | undefined;

  constructor(info: Info, connection: Connection) {
    this.info = info;
    this.connection = connection;
  }

  /** Generate a whole completion. Rejects with the signal's reason when that aborts. */
  async generate(prompt: AnyPrompt, options: Generating = {}): Promise<Completion> {
    return this.#start(prompt, options, undefined).answer;
  }

  /** Generate token by token. The engine starts when the first token is asked for. */
  stream(prompt: AnyPrompt, options: Generating = {}): TokenStream {
    return new TokenStream({ start: (onToken) => this.#start(prompt, options, onToken) });
  }

  /** The token ids of a text, with the model's own begin token unless `addSpecial` is false. */
  async tokenize(text: string, options: { addSpecial?: boolean } = {}): Promise<number[]> {
    const { addSpecial = true } = asOptions(options);
    return (await this.connection.ask({ type: "tokenize", text, addSpecial }).answer) as number[];
  }

  /** Stop every generation and free the model. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = this.connection.ask({ type: "close" }).answer.catch(() => undefined);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    await Promise.race([closed, late]);
    clearTimeout(timer);
    this.connection.end(new MlrError("EngineError", "the model is closed; load it again"));
  }

  #start(
    prompt: AnyPrompt,
    given: Generating,
    onToken: ((token: Token) => void) | undefined,
  ): { answer: Promise<Completion>; stop: () => void } {
    const { signal, ...options } = asOptions(given);
    const request = { type: "generate", prompt, options, tokens: onToken !== undefined } as const;
    const { answer, stop } = this.ask<Completion>(request, signal, onToken);
    const finish = async () => {
      const completion = await answer;
      completion.timings.loadMs = this.info.loadMs;
      return completion;
    };
    return { answer: finish(), stop };
  }

  /** Ask for what `signal`, or `stop`, stops; the answer then rejects, with the signal's reason. */
  protected ask<Answer>(
    request: Ask,
    signal: AbortSignal | undefined,
    onToken?: (token: Token) => void,
  ): { answer: Promise<Answer>; stop: () => void } {
    signal?.throwIfAborted();
    const { id, answer } = this.connection.ask(request, onToken);
    const stop = () => {
      this.connection.stop(id);
    };
    signal?.addEventListener("abort", stop, { once: true });
    const finish = async () => {
      try {
        const value = (await answer) as Answer | null;
        signal?.throwIfAborted();
        if (value === null) throw new MlrError("EngineError", "what was asked for was stopped: the model was closed");
        return value;
      } finally {
        signal?.removeEventListener("abort", stop);
      }
    };
    return { answer: finish(), stop };
  }
}

/** Ask a connection to load, and end it when that fails or `signal` aborts. Adds `loadMs`. */
export async function loadThrough<Info extends ModelInfo>(
  connection: Connection,
  request: Parameters<Connection["ask"]>[0],
  signal: AbortSignal | undefined,
  start: number,
): Promise<Info> {
  const onAbort = () => {
    connection.end(new MlrError("LoadError", "loading was aborted"));
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const info = (await connection.ask(request).answer) as Info;
    return { ...info, loadMs: performance.now() - start };
  } catch (error) {
    connection.end(new MlrError("LoadError", "the model was not loaded"));
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}
