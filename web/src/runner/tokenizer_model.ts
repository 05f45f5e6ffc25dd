/** Has `@huggingface/tokenizers` 0.2 use a packed tokenizer's tables where its models have maps and arrays. */
import type { Tokenizer } from "@huggingface/tokenizers";
import { MlrError } from "../shared/errors";
import type { Merges } from "./merges";
import type { PackedTokenizer } from "./packed";
import type { Vocabulary } from "./vocabulary";

interface Node {
  token: string;
  bias: number;
  next: Node;
  score?: number;
  /** Of `token`; kept here because a node is asked for twice, and copied. */
  id?: number | undefined;
}

/** What is used of the library's BPE and WordPiece. */
interface Model {
  tokens_to_ids: Pick<Map<string, number>, "get" | "has">;
  vocab: string[];
  unk_token: string | null | undefined;
  unk_token_id: number | undefined;
  /** Of BPE: puts a node into the queue if it merges with the next one. */
  add_node?: AddNode;
}

type AddNode = (queue: { push(node: Node): void }, node: Node) => void;

/**
 * Give tables to a tokenizer that was made with no vocabulary and no merges, only with the added
 * tokens. Throws `TokenizerError` for tables that another kind of tokenizer has.
 */
export function useTables(tokenizer: Tokenizer, { vocabulary, merges, scores }: PackedTokenizer): void {
  const { model } = tokenizer as unknown as { model: Model };
  if ("add_node" in model) {
    if (merges) model.add_node = addByMerges(vocabulary, merges);
    else if (scores?.every(Number.isInteger)) model.add_node = addByScores(vocabulary, scores);
    else throw new MlrError("TokenizerError", "tokenizer: there is nothing that says which tokens merge");
  }
  model.tokens_to_ids = new TokenIds(vocabulary, model.tokens_to_ids);
  model.vocab = tokensById(vocabulary, model.vocab);
  model.unk_token_id = model.tokens_to_ids.get(model.unk_token ?? "");
}

/** Ids by token. The added tokens count more than the vocabulary. */
class TokenIds {
  readonly #vocabulary: Vocabulary;
  readonly #added: Model["tokens_to_ids"];

  constructor(vocabulary: Vocabulary, added: Model["tokens_to_ids"]) {
    this.#vocabulary = vocabulary;
    this.#added = added;
  }

  get(token: string): number | undefined {
    return this.#added.get(token) ?? this.#vocabulary.id(token);
  }

  has(token: string): boolean {
    return this.get(token) !== undefined;
  }
}

/** Tokens by id, for whoever takes elements of it and no more. */
function tokensById(vocabulary: Vocabulary, added: string[]): string[] {
  return new Proxy(added, {
    get: (_, id) => (typeof id === "string" ? (added[Number(id)] ?? vocabulary.token(Number(id))) : undefined),
  });
}

function addByMerges(vocabulary: Vocabulary, merges: Merges): AddNode {
  return (queue, node) => {
    const left = (node.id ??= vocabulary.id(node.token));
    const right = (node.next.id ??= vocabulary.id(node.next.token));
    if (left === undefined || right === undefined) return;
    const rank = merges.rank(left, right);
    if (rank === undefined) return;
    node.score = rank + node.bias;
    queue.push(node);
  };
}

/** SentencePiece's way: what becomes a token merges, that of the highest score first. */
function addByScores(vocabulary: Vocabulary, scores: Float32Array): AddNode {
  return (queue, node) => {
    const id = vocabulary.id(node.token + node.next.token);
    if (id === undefined) return;
    node.score = node.bias - (scores[id] ?? 0); // the bias is below 1, and the scores are whole numbers
    queue.push(node);
  };
}
