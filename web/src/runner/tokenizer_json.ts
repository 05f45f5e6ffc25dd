/**
 * A tokenizer.json as `@huggingface/tokenizers` 0.2 reads it right. What it reads differently from
 * the Rust library is written in another way where that is possible and refused where not: wrong
 * ids would make wrong text without a word. `tests/parity/tokenizer/test_javascript.py` compares.
 */
import { MlrError } from "../shared/errors";
import type { AddedToken } from "./vocabulary";

interface Step {
  type: string;
  [field: string]: unknown;
}

export interface TokenizerJson {
  added_tokens: AddedToken[];
  normalizer: Step | null;
  pre_tokenizer: Step | null;
  post_processor: Step | null;
  decoder: Step | null;
  model: Step;
}

/** Throws `TokenizerError` for what would give other ids than the Rust library. */
export function adapt(json: unknown): TokenizerJson {
  const file = json as Partial<TokenizerJson> | null;
  if (typeof file !== "object" || file === null || typeof file.model !== "object") {
    throw new MlrError("TokenizerError", "tokenizer.json: there is no model in it");
  }
  const { model } = file;
  const kind = (model.type as string | undefined) ?? ("merges" in model ? "BPE" : "WordPiece");
  if (kind !== "BPE" && kind !== "WordPiece" && kind !== "Unigram") refuse(`the model ${kind}`);
  if (kind === "BPE" && model.continuing_subword_prefix) refuse("BPE with a continuing_subword_prefix");
  if (kind === "Unigram" && model.byte_fallback) refuse("Unigram with byte_fallback");
  return {
    ...file,
    added_tokens: file.added_tokens ?? [],
    normalizer: file.normalizer ? adaptNormalizer(file.normalizer) : null,
    pre_tokenizer: file.pre_tokenizer ? adaptPreTokenizer(file.pre_tokenizer) : null,
    post_processor: file.post_processor ?? null,
    decoder: file.decoder ?? null,
    model: { ...model, type: kind },
  };
}

function adaptNormalizer(step: Step): Step {
  switch (step.type) {
    case "Sequence":
      return { ...step, normalizers: (step.normalizers as Step[]).map(adaptNormalizer) };
    case "Nmt":
      return refuse("the normalizer Nmt");
    case "Lowercase":
    case "BertNormalizer":
      // JavaScript makes a final sigma of a capital one at the end of a word, the Rust library never
      if (step.lowercase === false) return step;
      return {
        type: "Sequence",
        normalizers: [{ type: "Replace", pattern: { String: "Σ" }, content: "σ" }, step],
      };
    default:
      return step;
  }
}

function adaptPreTokenizer(step: Step): Step {
  switch (step.type) {
    case "Sequence":
      return { ...step, pretokenizers: (step.pretokenizers as Step[]).map(adaptPreTokenizer) };
    case "Whitespace":
      return refuse("the pre-tokenizer Whitespace");
    case "Digits":
      // numbers of every script, not only ASCII
      return {
        type: "Split",
        pattern: { Regex: step.individual_digits ? "\\p{N}" : "\\p{N}+" },
        behavior: "Isolated",
        invert: false,
      };
    default:
      return step;
  }
}

function refuse(what: string): never {
  throw new MlrError(
    "TokenizerError",
    `tokenizer.json has ${what}, for which the JavaScript tokenizer gives other ids: use mlr in Python`,
  );
}
