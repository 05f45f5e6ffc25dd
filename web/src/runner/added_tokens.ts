/**
 * The tokens of a packed tokenizer that are cut out of a text before anything else, looked up in its
 * tables: the library's tree of them and its objects take half a kilobyte for each.
 */
import type { Vocabulary } from "./vocabulary";

export class AddedTokens {
  readonly #vocabulary: Vocabulary;
  /** How many code units they have, the most first, by their first two; those of one by that. */
  readonly #lengths = new Map<string, number[]>();

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    for (const { content } of vocabulary.added()) {
      this.#lengthsOf(content.charAt(0));
      const known = this.#lengthsOf(content.slice(0, 2));
      if (!known.includes(content.length)) known.push(content.length);
    }
    for (const known of this.#lengths.values()) known.sort((a, b) => b - a);
  }

  #lengthsOf(beginning: string): number[] {
    const known = this.#lengths.get(beginning) ?? [];
    this.#lengths.set(beginning, known);
    return known;
  }

  has(text: string): boolean {
    const id = this.#vocabulary.id(text);
    return id !== undefined && this.#vocabulary.isAdded(id);
  }

  /** What the library asks for to strip spaces beside it, which none of these tokens does. */
  get(): undefined {
    return undefined;
  }

  /** A text as these tokens, the longest that is there first, and what is between them. */
  split(text: string): string[] {
    const parts: string[] = [];
    let start = 0;
    for (let at = 0; at < text.length;) {
      const size = this.#sizeAt(text, at);
      if (size > 0) {
        if (at > start) parts.push(text.slice(start, at));
        parts.push(text.slice(at, at + size));
        start = at + size;
      }
      at += size || 1;
    }
    if (start < text.length) parts.push(text.slice(start));
    return parts;
  }

  /** The length of the longest that begins there, or 0. */
  #sizeAt(text: string, at: number): number {
    const one = this.#lengths.get(text.charAt(at));
    if (!one) return 0;
    const fits = (size: number) => at + size <= text.length && this.has(text.slice(at, at + size));
    return this.#lengths.get(text.slice(at, at + 2))?.find(fits) ?? one.find(fits) ?? 0;
  }
}
