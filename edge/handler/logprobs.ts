/** Log probabilities in OpenAI's shapes: one for chats, another for completions. */
import type { Model, Token } from "mlr";

const LOWEST = -9999; // JSON has no infinity; OpenAI's own stand-in

/** The bytes of a model's tokens, each asked for once. */
export class Spellings {
  readonly #model: Model;
  readonly #known = new Map<number, Uint8Array>();

  constructor(model: Model) {
    this.#model = model;
  }

  /** Of the tokens that have log probabilities, and of their alternatives. */
  async of(tokens: Token[]): Promise<(id: number) => Uint8Array> {
    const ids = new Set(tokens.flatMap(({ id, topLogprobs }) => [id, ...topLogprobs.map((one) => one.id)]));
    const unknown = [...ids].filter((id) => !this.#known.has(id));
    const bytes = unknown.length > 0 ? await this.#model.tokenBytes(unknown) : [];
    for (const [index, id] of unknown.entries()) this.#known.set(id, bytes[index] ?? new Uint8Array());
    return (id) => this.#known.get(id) ?? new Uint8Array();
  }
}

/** The `logprobs` of a chat's choice; null without any. */
export async function chatLogprobs(spellings: Spellings, tokens: Token[]): Promise<object | null> {
  const likely = tokens.filter(hasLogprob);
  if (likely.length === 0) return null;
  const bytesOf = await spellings.of(likely);
  const entry = (id: number, logprob: number) => {
    const bytes = bytesOf(id);
    return { token: textOf(bytes), logprob: Math.max(logprob, LOWEST), bytes: Array.from(bytes) };
  };
  const content = likely.map(({ id, logprob, topLogprobs }) => ({
    ...entry(id, logprob),
    top_logprobs: topLogprobs.map((one) => entry(one.id, one.logprob)),
  }));
  return { content, refusal: null };
}

/**
 * The `logprobs` of a completion's choice, whose text before has `offset` characters; null without
 * any. Alternatives are by their text there, so that of two with one text the likelier is in it.
 */
export async function completionLogprobs(
  spellings: Spellings,
  tokens: Token[],
  offset: number,
): Promise<object | null> {
  const likely = tokens.filter(hasLogprob);
  if (likely.length === 0) return null;
  const bytesOf = await spellings.of(likely);
  const offsets: number[] = [];
  for (const token of tokens) {
    if (hasLogprob(token)) offsets.push(offset);
    offset += characters(token.text);
  }
  return {
    tokens: likely.map(({ id }) => textOf(bytesOf(id))),
    token_logprobs: likely.map(({ logprob }) => Math.max(logprob, LOWEST)),
    top_logprobs: likely.map(({ topLogprobs }) => {
      const top = new Map<string, number>();
      for (const { id, logprob } of topLogprobs) {
        const text = textOf(bytesOf(id));
        if (!top.has(text)) top.set(text, Math.max(logprob, LOWEST));
      }
      return Object.fromEntries(top);
    }),
    text_offset: offsets,
  };
}

/** How many characters a text has, where JavaScript counts those beyond the first 65,536 twice. */
export function characters(text: string): number {
  return Array.from(text).length;
}

function hasLogprob(token: Token): token is Token & { logprob: number } {
  return token.logprob !== null;
}

/** A token's bytes as text; those that are no whole characters as OpenAI spells them. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}
