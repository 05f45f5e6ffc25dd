import { Model as BaseModel } from "../api/model";
import { asOptions } from "../api/options";
import type { Chat, Embeddings, EmbedOptions, ModelInfo, Prompt } from "../shared/protocol";

/** Options of `embed`. */
export type Embedding = EmbedOptions & { signal?: AbortSignal };

/** A loaded model. It runs one generation at a time; further ones wait for their turn. */
export class Model extends BaseModel<ModelInfo, Prompt | Chat> {
  /** The text of token ids, special tokens left out. */
  async detokenize(ids: number[]): Promise<string> {
    return (await this.connection.ask({ type: "detokenize", ids }).answer) as string;
  }

  /**
   * The bytes that each of these tokens adds to a text, special tokens included: of a character
   * that several tokens make together a part, of an id outside the vocabulary none.
   */
  async tokenBytes(ids: number[]): Promise<Uint8Array[]> {
    return (await this.connection.ask({ type: "bytes", ids }).answer) as Uint8Array[];
  }

  /**
   * A vector for each text, or list of token ids, which are taken as they are. Aborting `signal`
   * stops it within a pass. Rejects with the signal's reason then, with `UnsupportedModelError` when
   * the model has none, `RequestError`, and `ContextLengthError` for a long text that is not to be cut.
   */
  async embed(texts: string | Prompt[], options: Embedding = {}): Promise<Embeddings> {
    const { signal, ...rest } = asOptions(options);
    const request = { type: "embed", texts: typeof texts === "string" ? [texts] : texts, options: rest } as const;
    return this.ask<Embeddings>(request, signal).answer;
  }
}
