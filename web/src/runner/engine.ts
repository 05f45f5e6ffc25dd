import type { Kernel } from "../kernel/kernel";
import { check } from "../kernel/feeder";
import { MlrError } from "../shared/errors";
import type { Sampling } from "./options";

/** Sequence 0 of a kernel whose weights are in place. */
export class Engine {
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly #kernel: Kernel;
  readonly #batch: number;
  readonly #tokens: number;
  readonly #wanted: number;
  /** What the KV cache holds. */
  #evaluated: number[] = [];

  constructor(kernel: Kernel, contextLength: number, vocabularySize: number) {
    this.#kernel = kernel;
    this.contextLength = contextLength;
    this.vocabularySize = vocabularySize;
    this.#batch = this.#call("mlr_batch");
    this.#tokens = this.#call("mlr_tokens");
    this.#wanted = this.#call("mlr_wanted");
    kernel.write(this.#call("mlr_token_sequences"), new Uint8Array(4 * this.#batch));
  }

  /** How many tokens one call evaluates at most. */
  get batch(): number {
    return this.#batch;
  }

  /** How many tokens are in the KV cache. */
  get position(): number {
    return this.#evaluated.length;
  }

  /** Throws `RequestError` or `ContextLengthError` unless these ids can be a prompt. */
  checkPrompt(ids: number[]): void {
    if (ids.length === 0) throw new MlrError("RequestError", "the prompt is empty");
    if (ids.length > this.contextLength) {
      throw new MlrError(
        "ContextLengthError",
        `the prompt has ${ids.length} tokens and the context holds ${this.contextLength}: ` +
          "shorten it, or load with a longer contextLength",
      );
    }
    for (const id of ids) {
      if (!Number.isInteger(id) || id < 0 || id >= this.vocabularySize) {
        throw new MlrError("RequestError", `token id ${id} is not in the vocabulary of ${this.vocabularySize}`);
      }
    }
  }

  /**
   * Forget everything but the beginning that the KV cache shares with a prompt; returns how many
   * of the prompt's tokens need not be evaluated. The last one always does: its logits are wanted.
   */
  reuse(prompt: number[]): number {
    let shared = 0;
    while (shared < prompt.length - 1 && this.#evaluated[shared] === prompt[shared]) shared++;
    // a sliding window may have passed over what would be needed; 0 always works
    if (shared > 0 && this.#kernel.call("mlr_truncate", 0, shared) < 0) shared = 0;
    if (shared === 0) this.#call("mlr_truncate", 0, 0);
    this.#evaluated.length = shared;
    return shared;
  }

  /** Append at most `batch` ids; `logits`: compute those after the last. */
  evaluate(ids: number[], logits: boolean): void {
    const wanted = new Uint32Array(ids.length);
    if (logits) wanted[ids.length - 1] = 1;
    this.#kernel.write(this.#tokens, new Uint8Array(Int32Array.from(ids).buffer));
    this.#kernel.write(this.#wanted, new Uint8Array(wanted.buffer));
    this.#call("mlr_eval", ids.length);
    for (const id of ids) this.#evaluated.push(id);
  }

  /** A copy of the last logits. */
  logits(): Float32Array {
    return new Float32Array(this.#kernel.read(this.#call("mlr_logits", 0), 4 * this.vocabularySize).buffer);
  }

  /** How `sample` chooses from now on. */
  configure(sampling: Sampling): void {
    this.#call(
      "mlr_sampler",
      0,
      sampling.temperature,
      sampling.topK,
      sampling.topP,
      sampling.minP,
      sampling.repeatPenalty,
      sampling.repeatLastN,
      0, // frequency penalty
      0, // presence penalty
      Number(sampling.seed & 0xffffffffn),
      Number(sampling.seed >> 32n),
    );
  }

  /** The next token, chosen from the last logits. It is not appended. */
  sample(): number {
    return this.#call("mlr_sample", 0, 0);
  }

  close(): void {
    this.#kernel.close();
  }

  #call(name: string, ...values: number[]): number {
    const answer = this.#kernel.call(name, ...values);
    check(answer, `${name}(${values.join(", ")})`);
    return answer;
  }
}
