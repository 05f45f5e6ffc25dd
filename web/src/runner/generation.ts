/** The loop from prompt ids to a completion, one token at a time: as `mlr.generation` does it. */
import { scope } from "#scope";
import type { Completion, Timings, Token } from "../shared/protocol";
import type { Engine } from "./engine";
import type { Generating } from "./options";
import { StopMatcher } from "./stop";
import type { TextTokenizer } from "./tokenizer";

/** Generate; null when `stopped` says so. */
export async function generate(
  engine: Engine,
  tokenizer: TextTokenizer,
  prompt: number[],
  options: Generating,
  stopped: () => boolean,
  onToken: (token: Token) => void,
): Promise<Completion | null> {
  const clock = new Clock();
  engine.configure(options.sampling);
  const shared = engine.reuse(prompt);
  for (let start = shared; start < prompt.length; start += engine.batch) {
    const end = Math.min(start + engine.batch, prompt.length);
    engine.evaluate(prompt.slice(start, end), end === prompt.length);
    await scope.turn();
    if (stopped()) return null;
  }
  clock.promptDone();
  const stream = tokenizer.stream();
  const matcher = new StopMatcher(options.stop);
  const ids: number[] = [];
  const tokens: Token[] = [];
  let text = "";
  let reason: Completion["finishReason"] = "length";
  for (let last = false; !last; ) {
    const previous = ids.at(-1);
    if (previous !== undefined) engine.evaluate([previous], true);
    const id = engine.sample();
    clock.tokenDone();
    const ended = tokenizer.endIds.has(id);
    if (!ended) ids.push(id);
    const likely = ended ? NO_LOGPROBS : likelihood(engine, id, options.logprobs);
    let piece = ended ? stream.flush() : stream.push(id);
    // the newest token is not evaluated yet, so the context is full one token earlier
    last = ended || ids.length >= options.maxTokens || engine.position >= engine.contextLength;
    if (last && !ended) piece += stream.flush();
    piece = matcher.push(piece);
    if (matcher.found !== null) last = true;
    else if (last) piece += matcher.flush();
    if (ended || matcher.found !== null) reason = "stop";
    text += piece;
    // an end token is given out only when it brings text that was held back
    if (piece || !ended) {
      const token = { id, text: piece, ...likely };
      if (token.logprob !== null) tokens.push(token);
      onToken(token);
    }
    await scope.turn();
    if (stopped()) return null;
  }
  return {
    text,
    tokenIds: ids,
    promptTokenIds: prompt,
    finishReason: reason,
    stopSequence: matcher.found,
    tokens,
    timings: clock.timings(prompt.length - shared),
  };
}

type Likelihood = Pick<Token, "logprob" | "topLogprobs">;

const NO_LOGPROBS: Likelihood = { logprob: null, topLogprobs: [] };

/** A token's log probability in the last logits, beside those of the `count` likeliest. */
function likelihood(engine: Engine, id: number, count: number | null): Likelihood {
  if (count === null) return NO_LOGPROBS;
  const topLogprobs = count > 0 ? engine.top(count) : [];
  const found = topLogprobs.find((one) => one.id === id);
  return { logprob: found ? found.logprob : engine.logprob(id), topLogprobs };
}

class Clock {
  readonly #start = performance.now();
  #prompt = 0;
  #first = 0;
  #last = 0;
  #tokens = 0;

  promptDone(): void {
    this.#prompt = performance.now();
  }

  tokenDone(): void {
    this.#last = performance.now();
    if (this.#tokens++ === 0) this.#first = this.#last;
  }

  /** `loadMs` is filled in where it is known. */
  timings(promptTokens: number): Timings {
    const promptMs = this.#prompt - this.#start;
    const decodeMs = this.#last - this.#first;
    return {
      loadMs: 0,
      firstTokenMs: this.#tokens > 0 ? this.#first - this.#start : null,
      promptTokensPerSecond: promptMs > 0 ? (promptTokens / promptMs) * 1000 : null,
      decodeTokensPerSecond: decodeMs > 0 ? ((this.#tokens - 1) / decodeMs) * 1000 : null,
    };
  }
}
