/** `POST /v1/embeddings`. */
import { Fields, invalid, takePrompts } from "./fields";
import type { Asked } from "./handler";
import { MAX_INPUTS } from "./limits";

export async function embeddings(asked: Asked, body: Record<string, unknown>): Promise<Response> {
  const fields = new Fields(body);
  asked.checkModel(fields.required("model"));
  const texts = takePrompts(fields, "input", MAX_INPUTS);
  const format = fields.optional("encoding_format") ?? "float";
  if (format !== "float" && format !== "base64") throw invalid("encoding_format", "must be float or base64");
  const dimensions = fields.optional("dimensions");
  fields.ignore(["user"]);
  fields.done();
  const model = await asked.model();
  const { vectors, tokens, truncated } = await model.embed(texts, { signal: asked.request.signal });
  const width = vectors[0]?.length ?? 0;
  if (dimensions !== undefined && dimensions !== width) {
    throw invalid("dimensions", `: this model's embeddings have ${width}`);
  }
  const encode = format === "base64" ? toBase64 : (vector: Float32Array) => Array.from(vector);
  return Response.json({
    object: "list",
    data: vectors.map((vector, index) => ({ object: "embedding", index, embedding: encode(vector) })),
    model: asked.id,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
    truncated, // not OpenAI's: the inputs that were cut
  });
}

/** Little-endian float32, as OpenAI's client reads it. */
function toBase64(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
