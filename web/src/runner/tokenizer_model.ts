/**
 * BPE with many merges in less memory and time. `@huggingface/tokenizers` 0.2 keeps each merge four
 * times: as it came, as a pair, as the pair's JSON, and with the vocabulary in what it was made of.
 * For a quarter of a million tokens and as many merges that is 50 MB.
 */
import type { Tokenizer } from "@huggingface/tokenizers";
import type { TokenizerJson } from "./tokenizer_json";

interface Node {
  token: string;
  bias: number;
  next: Node;
  score?: number;
}

/** What is used of the library's BPE. */
interface Model {
  tokens_to_ids: Map<string, number>;
  vocab: string[];
  unk_token: string | null | undefined;
  unk_token_id: number | undefined;
  add_node: (queue: { push(node: Node): void }, node: Node) => void;
}

/** The tokenizer that `make` makes, with its tokens and merges in one table each. */
export function withoutCopies(json: TokenizerJson, make: (json: TokenizerJson) => Tokenizer): Tokenizer {
  const { vocab, merges } = json.model;
  if (json.model.type !== "BPE" || !isTexts(merges)) return make(json);
  const tokenizer = make({ ...json, model: { ...json.model, vocab: {}, merges: [] } });
  const { model } = tokenizer as unknown as { model: Model };
  const ids = model.tokens_to_ids; // has the added tokens, which count more than the vocabulary
  const known = vocab as Record<string, number>;
  for (const token of Object.keys(known)) {
    const id = known[token];
    if (id === undefined || ids.has(token)) continue;
    ids.set(token, id);
    model.vocab[id] = token;
  }
  model.unk_token_id = ids.get(model.unk_token ?? "");
  const ranks = new Map<string, number>(); // by "left right"
  for (const [rank, merge] of merges.entries()) ranks.set(merge, rank);
  model.add_node = (queue, node) => {
    const rank = ranks.get(`${node.token} ${node.next.token}`);
    if (rank === undefined) return;
    node.score = rank + node.bias;
    queue.push(node);
  };
  return tokenizer;
}

/** Merges as texts of two tokens and one space between them. */
function isTexts(merges: unknown): merges is string[] {
  return (
    Array.isArray(merges) &&
    merges.every((merge) => typeof merge === "string" && merge.indexOf(" ") === merge.lastIndexOf(" "))
  );
}
