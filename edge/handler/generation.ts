/** From a checked request to its answer: generate, and send whole or as a stream of events. */
import type { Chat, Completion, Model, Prompt, Token, TokenStream } from "mlr";
import { ApiError } from "./errors";
import type { Asked } from "./handler";
import { MAX_CHARACTERS_PER_TOKEN } from "./limits";
import type { Sampling } from "./sampling";
import type { Events } from "./stream";

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

/** How one endpoint's answers look in JSON. */
export interface Shape {
  /** The event before a choice's first text, if there is one. */
  opening(index: number): object | null;
  /** The next piece of text, and the tokens that it came with. */
  delta(index: number, text: string, tokens: Token[]): Promise<object>;
  closing(index: number, reason: string): object;
  usage(usage: Usage): object;
  whole(completions: Completion[], usage: Usage): Promise<object>;
}

/** Answers a request for one completion of each prompt. Throws only before anything is sent. */
export async function respond(
  asked: Asked,
  model: Model,
  prompts: (Prompt | Chat)[],
  { options, stream, includeUsage }: Sampling,
  shape: Shape,
): Promise<Response | Events> {
  checkLength(prompts, model.info.contextLength);
  const leaving = new AbortController();
  const signal = AbortSignal.any([asked.request.signal, leaving.signal]);
  const start = (prompt: Prompt | Chat) => model.stream(prompt, { ...options, signal });
  if (!stream) {
    const completions: Completion[] = [];
    for (const prompt of prompts) completions.push(await model.generate(prompt, { ...options, signal }));
    return Response.json(await shape.whole(completions, usageOf(completions)));
  }
  const rest = eventsOf(prompts, start, shape, includeUsage);
  const first = await rest.next(); // what is wrong with the request shows here
  signal.throwIfAborted(); // there is nobody who would read, or cancel, a response
  return { first, rest, leaving };
}

/** Throws `ApiError` for texts that no context can hold. */
function checkLength(prompts: (Prompt | Chat)[], context: number): void {
  for (const prompt of prompts) {
    if (Array.isArray(prompt)) continue;
    const texts = typeof prompt === "string" ? [prompt] : prompt.messages.map(({ content }) => content);
    const length = texts.reduce((sum, text) => sum + text.length, 0);
    if (length <= context * MAX_CHARACTERS_PER_TOKEN) continue;
    const param = typeof prompt === "string" ? "prompt" : "messages";
    const problem = `'${param}' has ${length} characters; this model's context is ${context} tokens: shorten it`;
    throw new ApiError(400, problem, { param, code: "context_length_exceeded" });
  }
}

/** The events of a stream, but for the mark of its end. */
async function* eventsOf(
  prompts: (Prompt | Chat)[],
  start: (prompt: Prompt | Chat) => TokenStream,
  shape: Shape,
  includeUsage: boolean,
): AsyncGenerator<object, void, undefined> {
  const completions: Completion[] = [];
  for (const [index, prompt] of prompts.entries()) {
    const tokens = start(prompt);
    let token = await tokens.next();
    const opening = shape.opening(index);
    if (opening) yield opening;
    let waiting: Token[] = []; // without text so far
    for (; !token.done; token = await tokens.next()) {
      waiting.push(token.value);
      if (!token.value.text) continue;
      yield await shape.delta(index, token.value.text, waiting);
      waiting = [];
    }
    if (waiting.some(({ logprob }) => logprob !== null)) yield await shape.delta(index, "", waiting);
    if (!tokens.completion) throw new Error("a stream has ended without a completion");
    completions.push(tokens.completion);
    yield shape.closing(index, tokens.completion.finishReason);
  }
  if (includeUsage) yield shape.usage(usageOf(completions));
}

function usageOf(completions: Completion[]): Usage {
  const count = (ids: (one: Completion) => number[]) => completions.reduce((sum, one) => sum + ids(one).length, 0);
  const [prompt, completion] = [count((one) => one.promptTokenIds), count((one) => one.tokenIds)];
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}
