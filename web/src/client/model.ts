import { Model as BaseModel } from "../api/model";
import type { Chat, ModelInfo, Prompt } from "../shared/protocol";

/** A loaded model. It runs one generation at a time; further ones wait for their turn. */
export class Model extends BaseModel<ModelInfo, Prompt | Chat> {
  /** The text of token ids, special tokens left out. */
  async detokenize(ids: number[]): Promise<string> {
    return (await this.connection.ask({ type: "detokenize", ids }).answer) as string;
  }

  /** A vector for each text, pooled and normalized as the model says. Rejects with `UnsupportedModelError` when the model has none. */
  async embed(texts: string[]): Promise<Float32Array[]> {
    return (await this.connection.ask({ type: "embed", texts }).answer) as Float32Array[];
  }
}
