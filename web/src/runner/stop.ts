/** Holds text back while it could be the start of a stop sequence. */
export class StopMatcher {
  /** The sequence that was found. */
  found: string | null = null;
  readonly #sequences: string[];
  #held = "";

  constructor(sequences: string[]) {
    this.#sequences = sequences;
  }

  /** The part of the text so far that is certain to come before any stop sequence. */
  push(text: string): string {
    if (this.#sequences.length === 0) return text;
    this.#held += text;
    let first = Infinity;
    for (const sequence of this.#sequences) {
      const at = this.#held.indexOf(sequence);
      if (at < 0 || at > first || (at === first && this.found !== null && sequence > this.found)) continue;
      first = at;
      this.found = sequence;
    }
    if (this.found !== null) return this.#held.slice(0, first);
    let keep = 0;
    for (const sequence of this.#sequences) {
      for (let size = Math.min(sequence.length, this.#held.length); size > keep; size--) {
        if (this.#held.endsWith(sequence.slice(0, size))) keep = size;
      }
    }
    const cut = this.#held.length - keep;
    const ready = this.#held.slice(0, cut);
    this.#held = this.#held.slice(cut);
    return ready;
  }

  /** What is still held, once no more text can come. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }
}
