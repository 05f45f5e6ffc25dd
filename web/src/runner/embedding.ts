/** Texts to vectors, as `mlr.embedding` makes them. */
import { scope } from "#scope";
import { MlrError } from "../shared/errors";
import type { Embeddings, EmbedOptions, Prompt } from "../shared/protocol";
import type { Engine } from "./engine";
import type { EmbeddingSettings } from "./manifest";
import type { TextTokenizer } from "./tokenizer";

const KNOWN = new Set(["promptName", "normalize", "truncate"]);

/**
 * Embed; null when `stopped` says so after a pass. Throws `UnsupportedModelError`, `RequestError`,
 * `ContextLengthError`.
 */
export async function embed(
  engine: Engine,
  tokenizer: TextTokenizer,
  settings: EmbeddingSettings | null,
  texts: Prompt[],
  options: EmbedOptions,
  stopped: () => boolean,
): Promise<Embeddings | null> {
  const normalized = engine.embedsNormalized();
  for (const name of Object.keys(options)) {
    if (!KNOWN.has(name)) throw wrong(`unknown option ${name} of embed`);
  }
  if (!Array.isArray(texts)) throw wrong("texts must be a text, or a list of texts or of lists of token ids");
  const { promptName, normalize = normalized, truncate = true } = options;
  if (!normalize && normalized) throw wrong("normalize: false is not possible: this model's embeddings have the length 1");
  const prompt = promptOf(settings, promptName);
  const longest = Math.min(engine.contextLength, settings?.maxTokens ?? engine.contextLength);
  const truncated: number[] = [];
  const ids = texts.map((text, index) => {
    const whole = typeof text === "string" ? tokenizer.encode(prompt + text, true) : text;
    if (!Array.isArray(whole)) throw wrong(`text ${index} must be a text or a list of token ids`);
    if (whole.length === 0) throw wrong(`text ${index} has no tokens, so it has no embedding`);
    if (whole.length <= longest) return whole;
    if (!truncate) {
      throw new MlrError(
        "ContextLengthError",
        `text ${index} has ${whole.length} tokens; this model takes ${longest}: shorten it, or let it be cut (truncate)`,
      );
    }
    truncated.push(index);
    const after = typeof text === "string" ? endOf(whole, tokenizer.encode(prompt + text, false)) : [];
    return [...whole.slice(0, Math.max(longest - after.length, 0)), ...after].slice(0, longest);
  });
  for (const text of ids) engine.checkPrompt(text);
  const vectors: Float32Array[] = [];
  for (const made of engine.embed(ids)) {
    vectors.push(...made);
    await scope.turn();
    if (stopped()) return null;
  }
  if (normalize && !normalized) vectors.forEach(scale);
  return { vectors, tokens: ids.reduce((sum, { length }) => sum + length, 0), truncated };
}

function promptOf(settings: EmbeddingSettings | null, asked: string | undefined): string {
  const name = asked ?? settings?.defaultPrompt;
  if (name === undefined || name === null) return "";
  const prompt = settings?.prompts.get(name);
  if (prompt !== undefined) return prompt;
  const known = Array.from(settings?.prompts.keys() ?? []).join(", ") || "none";
  throw wrong(`there is no prompt ${name}; this model's prompts: ${known}`);
}

/** What stands behind a text's own ids. */
function endOf(whole: number[], own: number[]): number[] {
  const extra = whole.length - own.length;
  for (let before = 0; before < extra; before++) {
    if (own.every((id, i) => whole[before + i] === id)) return whole.slice(before + own.length);
  }
  return [];
}

/** Give a vector the length 1; zero stays zero. */
function scale(vector: Float32Array): void {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (length > 0) vector.set(vector.map((value) => value / length));
}

function wrong(message: string): MlrError {
  return new MlrError("RequestError", message);
}
