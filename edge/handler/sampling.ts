/** The parameters that completions and chats share. */
import type { GenerateOptions } from "mlr";
import { type Fields, invalid, isTexts } from "./fields";
import { MAX_LOGPROBS, MAX_STOP_LENGTH, MAX_STOPS, MAX_TOKENS } from "./limits";

const IGNORED = [
  "metadata",
  "parallel_tool_calls",
  "prompt_cache_key",
  "prompt_cache_retention",
  "safety_identifier",
  "service_tier",
  "store",
  "user",
];

const UNSUPPORTED = {
  audio: [],
  best_of: [1],
  echo: [false],
  function_call: ["none"],
  functions: [[]],
  logit_bias: [{}],
  modalities: [["text"]],
  n: [1],
  prediction: [],
  reasoning_effort: ["none"],
  response_format: [{ type: "text" }],
  suffix: [""],
  tool_choice: ["none", "auto"],
  tools: [[]],
  verbosity: [],
  web_search_options: [],
};

/** How many of the likeliest tokens are asked for beside each token. */
export const ALTERNATIVES = { low: 0, high: MAX_LOGPROBS, whole: true };
export const TOKENS = { low: 1, high: MAX_TOKENS, whole: true };
// JavaScript's numbers are whole up to here
const SEED = { low: Number.MIN_SAFE_INTEGER, high: Number.MAX_SAFE_INTEGER, whole: true };
const PENALTY = { low: -2, high: 2 };

export interface Sampling {
  options: GenerateOptions;
  stream: boolean;
  includeUsage: boolean;
}

/** Takes what both endpoints take, and refuses what is left. OpenAI's defaults are not greedy. */
export function takeSampling(fields: Fields): Sampling {
  fields.ignore(IGNORED);
  fields.refuse(UNSUPPORTED);
  const options: GenerateOptions = {
    temperature: fields.number("temperature", { low: 0, high: 2 }) ?? 1,
    topP: fields.number("top_p", { low: 0, high: 1 }) ?? 1,
    topK: fields.number("top_k", { low: 0, high: 2 ** 31 - 1, whole: true }) ?? 0,
    minP: fields.number("min_p", { low: 0, high: 1 }) ?? 0,
    repeatPenalty: fields.number("repeat_penalty", { low: 0.01, high: 100 }) ?? 1,
    frequencyPenalty: fields.number("frequency_penalty", PENALTY) ?? 0,
    presencePenalty: fields.number("presence_penalty", PENALTY) ?? 0,
    stop: takeStop(fields),
  };
  const seed = fields.number("seed", SEED);
  if (seed !== undefined) options.seed = BigInt.asUintN(64, BigInt(seed)); // OpenAI's are signed
  const stream = fields.flag("stream");
  const includeUsage = takeStreamOptions(fields, stream);
  fields.done();
  return { options, stream, includeUsage };
}

function takeStop(fields: Fields): string[] {
  const value = fields.optional("stop") ?? [];
  const stop: unknown = typeof value === "string" ? [value] : value;
  const right = isTexts(stop) && stop.every((text) => text.length > 0 && text.length <= MAX_STOP_LENGTH);
  if (!right || stop.length > MAX_STOPS) {
    throw invalid("stop", `must be a string or at most ${MAX_STOPS} strings of 1 to ${MAX_STOP_LENGTH} characters`);
  }
  return stop;
}

function takeStreamOptions(fields: Fields, stream: boolean): boolean {
  const value = fields.optional("stream_options");
  if (value === undefined) return false;
  if (!stream) throw invalid("stream_options", "is for streams: send 'stream': true");
  if (typeof value !== "object") throw invalid("stream_options", "must be an object");
  const { include_usage = false, include_obfuscation = false, ...rest } = value as Record<string, unknown>;
  if (typeof include_usage !== "boolean" || include_obfuscation !== false || Object.keys(rest).length > 0) {
    throw invalid("stream_options", 'must be {"include_usage": true or false}');
  }
  return include_usage;
}
