import type { Completion, Token } from "../shared/protocol";

/** What a stream needs from the model; the answer rejects when the generation was stopped. */
export interface Generation {
  start(onToken: (token: Token) => void): { answer: Promise<Completion>; stop: () => void };
}

/**
 * The tokens of one generation, as they come. Leaving the loop (`break`, `return`, an exception)
 * stops the engine. `completion` is set once the generation has ended by itself; closing the model
 * meanwhile is an `EngineError` for who reads.
 */
export class TokenStream implements AsyncIterableIterator<Token> {
  completion: Completion | null = null;
  readonly #generation: Generation;
  readonly #tokens: Token[] = [];
  #stop: (() => void) | undefined;
  #ended = false;
  #error: Error | undefined;
  /** Who waits for the next token, the first to ask first. */
  #waiting: (() => void)[] = [];

  constructor(generation: Generation) {
    this.#generation = generation;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Token, undefined>> {
    this.#start();
    while (this.#tokens.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    const token = this.#tokens.shift();
    if (token) return { done: false, value: token };
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error;
    return { done: true, value: undefined };
  }

  /** Stop the engine. */
  return(): Promise<IteratorResult<Token, undefined>> {
    this.#stop?.();
    this.#tokens.length = 0;
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #start(): void {
    if (this.#stop || this.#ended) return;
    const { answer, stop } = this.#generation.start((token) => {
      if (this.#ended) return;
      this.#tokens.push(token);
      this.#signal();
    });
    this.#stop = stop;
    answer.then(
      (completion) => {
        this.completion = completion;
        this.#end();
      },
      (error: unknown) => {
        if (!this.#ended) this.#error = error instanceof Error ? error : new Error(String(error));
        this.#end();
      },
    );
  }

  #end(): void {
    this.#ended = true;
    this.#signal();
  }

  #signal(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
