/** Has `@huggingface/tokenizers` 0.2 use tables where its models have maps and arrays. */
import type { Tokenizer } from "@huggingface/tokenizers";
import type { Merges } from "./merges";
import type { Tables } from "./tokenizer_file";
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
  add_node: (queue: { push(node: Node): void }, node: Node) => void;
}

/** Give `tables` to a tokenizer that was made with no vocabulary and no merges. */
export function useTables(tokenizer: Tokenizer, { vocabulary, merges }: Tables): void {
  const { model } = tokenizer as unknown as { model: Model };
  model.tokens_to_ids = new TokenIds(vocabulary, model.tokens_to_ids);
  model.vocab = tokensById(vocabulary, model.vocab);
  model.unk_token_id = vocabulary.id(model.unk_token ?? "");
  if (merges) model.add_node = nodeAdder(vocabulary, merges);
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

function nodeAdder(vocabulary: Vocabulary, merges: Merges): Model["add_node"] {
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
