/** Has `@huggingface/tokenizers` 0.2 use a packed tokenizer's tables where its models have maps and arrays. */
import { AddedToken, ByteLevelDecoder, type Tokenizer } from "@huggingface/tokenizers";
import { MlrError } from "../shared/errors";
import { AddedTokens } from "./added_tokens";
import type { Merges } from "./merges";
import type { PackedTokenizer } from "./packed";
import type { Scores } from "./scores";
import type { Vocabulary } from "./vocabulary";

interface Node {
  token: string;
  bias: number;
  next: Node;
  score?: number;
  /** Of `token`; kept here because a node is asked for twice, and copied. */
  id?: number | undefined;
}

/** What is replaced of the library's tokenizers. */
interface Replaced {
  model: Model;
  added_tokens_map: Pick<AddedTokens, "get" | "has">;
  splitter_unnormalized: Pick<AddedTokens, "split">;
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
 * Give tables to a tokenizer that was made with no vocabulary, no merges and no added tokens.
 * Throws `TokenizerError` for tables that another kind of tokenizer has.
 */
export function useTables(tokenizer: Tokenizer, { vocabulary, merges, scores }: PackedTokenizer): void {
  const replaced = tokenizer as unknown as Replaced;
  const { model } = replaced;
  if ("add_node" in model) {
    if (merges) model.add_node = addByMerges(vocabulary, merges);
    else if (scores?.whole) model.add_node = addByScores(vocabulary, scores);
    else throw new MlrError("TokenizerError", "tokenizer: there is nothing that says which tokens merge");
  }
  model.tokens_to_ids = {
    get: (token) => vocabulary.id(token),
    has: (token) => vocabulary.id(token) !== undefined,
  };
  model.vocab = tokensById(vocabulary);
  model.unk_token_id = vocabulary.id(model.unk_token ?? "");
  const added = new AddedTokens(vocabulary);
  replaced.added_tokens_map = added;
  replaced.splitter_unnormalized = added;
  // the only decoder that asks for them, by their texts
  const { decoder } = tokenizer;
  if (decoder instanceof ByteLevelDecoder) decoder.added_tokens = Array.from(vocabulary.added(), (token) => new AddedToken(token));
}

/** Tokens by id, for whoever takes elements of it and no more. */
function tokensById(vocabulary: Vocabulary): string[] {
  return new Proxy<string[]>([], {
    get: (_, id) => (typeof id === "string" ? vocabulary.token(Number(id)) : undefined),
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
function addByScores(vocabulary: Vocabulary, scores: Scores): AddNode {
  return (queue, node) => {
    const id = vocabulary.id(node.token + node.next.token);
    if (id === undefined) return;
    node.score = node.bias - scores.of(id); // the bias is below 1, and the scores are whole numbers
    queue.push(node);
  };
}
