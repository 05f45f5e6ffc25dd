import type { Kernel } from "../kernel/kernel";
import { check } from "../kernel/feeder";
import { MlrError } from "../shared/errors";
import type { Alternative } from "../shared/protocol";
import type { Sampling } from "./options";

/** What an engine needs to know of a model. */
export interface Shape {
  contextLength: number;
  vocabularySize: number;
  /** How wide an embedding is; 0 for a model that gives none. */
  embeddingSize: number;
  /** Whether what it gives is how well two texts go together. */
  ranks: boolean;
  /** Whether embeddings have the length 1. */
  normalized: boolean;
  /** Whether texts are read from the left to the right, and can be gone on with. */
  causal: boolean;
}

/** Sequence 0 of a kernel whose weights are in place. */
export class Engine {
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly #shape: Shape;
  readonly #kernel: Kernel;
  readonly #batch: number;
  readonly #tokens: number;
  readonly #wanted: number;
  readonly #owners: number;
  /** What the KV cache holds. */
  #evaluated: number[] = [];

  constructor(kernel: Kernel, shape: Shape) {
    this.#kernel = kernel;
    this.#shape = shape;
    this.contextLength = shape.contextLength;
    this.vocabularySize = shape.vocabularySize;
    this.#batch = this.#call("mlr_batch");
    this.#tokens = this.#call("mlr_tokens");
    this.#wanted = this.#call("mlr_wanted");
    this.#owners = this.#call("mlr_token_sequences");
    kernel.write(this.#owners, new Uint8Array(4 * this.#batch));
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
    this.#write(this.#tokens, Int32Array.from(ids));
    this.#write(this.#wanted, wanted);
    this.#call("mlr_eval", ids.length);
    for (const id of ids) this.#evaluated.push(id);
  }

  /** Throws `UnsupportedModelError` for a model that gives embeddings, or ranks. */
  checkGenerates(): void {
    if (this.#shape.embeddingSize === 0) return;
    throw new MlrError("UnsupportedModelError", "this model makes embeddings, and no text");
  }

  /** Whether its embeddings have the length 1. Throws `UnsupportedModelError` for a model that gives none. */
  embedsNormalized(): boolean {
    if (this.#shape.ranks) {
      throw new MlrError("UnsupportedModelError", "this model ranks pairs of texts: use mlr in Python (rerank)");
    }
    if (this.#shape.embeddingSize > 0) return this.#shape.normalized;
    throw new MlrError("UnsupportedModelError", "this model gives no embeddings");
  }

  /**
   * The embeddings of texts, in their order: after each pass those that it has completed. A pass
   * takes as many of an encoder's whole texts as fit beside each other, or a part of a decoder's text.
   */
  *embed(texts: number[][]): Generator<Float32Array[], void, undefined> {
    for (let next = 0; next < texts.length; ) {
      if (this.#shape.causal) {
        yield* this.#embedByDecoder(texts[next++] ?? []);
      } else {
        const made = this.#embedByEncoder(texts.slice(next));
        next += made.length;
        yield made;
      }
    }
  }

  /** One pass, for the first texts. */
  #embedByEncoder(texts: number[][]): Float32Array[] {
    let [count, total] = [0, 0];
    for (const { length } of texts) {
      if (count > 0 && total + length > this.#batch) break;
      count++;
      total += length;
    }
    const part = texts.slice(0, count);
    this.#write(this.#tokens, Int32Array.from(part.flat()));
    this.#write(this.#owners, Uint32Array.from(part.flatMap((text, owner) => text.map(() => owner))));
    this.#call("mlr_eval", total);
    return part.map((_, row) => this.#embedding(row));
  }

  *#embedByDecoder(text: number[]): Generator<Float32Array[], void, undefined> {
    for (let start = this.reuse(text); start < text.length; start += this.#batch) {
      const end = Math.min(start + this.#batch, text.length);
      this.evaluate(text.slice(start, end), end === text.length);
      yield end === text.length ? [this.#embedding(0)] : [];
    }
  }

  #embedding(row: number): Float32Array {
    const address = this.#call("mlr_embedding", row);
    return new Float32Array(this.#kernel.read(address, 4 * this.#shape.embeddingSize).buffer);
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
      sampling.frequencyPenalty,
      sampling.presencePenalty,
      Number(sampling.seed & 0xffffffffn),
      Number(sampling.seed >> 32n),
    );
  }

  /** The next token, chosen from the last logits. It is not appended. */
  sample(): number {
    return this.#call("mlr_sample", 0, 0);
  }

  /** The `count` likeliest tokens of the last logits, best first. */
  top(count: number): Alternative[] {
    const found = this.#call("mlr_top", 0, count);
    const view = new DataView(this.#kernel.read(this.#call("mlr_alternatives"), 8 * found).buffer);
    return Array.from({ length: found }, (_, i) => ({
      id: view.getUint32(8 * i, true),
      logprob: view.getFloat32(8 * i + 4, true),
    }));
  }

  /** The log probability of a token in the last logits. */
  logprob(id: number): number {
    return this.#kernel.call("mlr_logprob", 0, id); // negative as a rule, and no error
  }

  close(): void {
    this.#kernel.close();
  }

  #write(address: number, values: Int32Array | Uint32Array): void {
    this.#kernel.write(address, new Uint8Array(values.buffer));
  }

  #call(name: string, ...values: number[]): number {
    const answer = this.#kernel.call(name, ...values);
    check(answer, `${name}(${values.join(", ")})`);
    return answer;
  }
}
