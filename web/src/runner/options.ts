/** What loading and generating may be asked for, checked; ranges and defaults are those of Python. */
import { MlrError } from "../shared/errors";
import type { EngineOptions, GenerateOptions } from "../shared/protocol";

const MAX_STOP_SEQUENCES = 16;
const DEFAULT_MAX_TOKENS = 128;
const MAX_LOGPROBS = 20;

export interface Sampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repeatPenalty: number;
  repeatLastN: number;
  frequencyPenalty: number;
  presencePenalty: number;
  seed: bigint;
}

export interface Generating {
  maxTokens: number;
  stop: string[];
  /** How many alternatives are wanted; null: no log probabilities. */
  logprobs: number | null;
  sampling: Sampling;
}

const RANGES: [name: Exclude<keyof Sampling, "seed">, low: number, high: number, usual: number, whole: boolean][] = [
  ["temperature", 0, 100, 0, false],
  ["topK", 0, 2 ** 31 - 1, 0, true],
  ["topP", 0, 1, 1, false],
  ["minP", 0, 1, 0, false],
  ["repeatPenalty", 0.01, 100, 1, false],
  ["repeatLastN", 0, 2 ** 20, 64, true],
  ["frequencyPenalty", -2, 2, 0, false],
  ["presencePenalty", -2, 2, 0, false],
];

/** What `load` was given, as the runner gets it. */
export type Loading = EngineOptions & { timeout?: number };

const LOADING = new Set(["threads", "contextLength", "memoryLimit", "timeout"]);
const KNOWN = new Set(["maxTokens", "stop", "seed", "logprobs", ...RANGES.map(([name]) => name)]);

/** Throws `RequestError` for a name that is not known, and for limits that are none. */
export function checkLoading(options: Loading): void {
  for (const name of Object.keys(options)) {
    if (!LOADING.has(name)) throw wrong(`unknown option ${name} of load`);
  }
  for (const name of ["memoryLimit", "timeout"] as const) {
    const value = options[name];
    if (value !== undefined && !(Number.isFinite(value) && value > 0)) {
      throw wrong(`${name} must be a number above 0, got ${String(value)}`);
    }
  }
}

/** Throws `RequestError` for a value out of its range and for a name that is not known. */
export function checkOptions(options: GenerateOptions): Generating {
  for (const name of Object.keys(options)) {
    if (!KNOWN.has(name)) throw wrong(`unknown generation option ${name}`);
  }
  const { maxTokens = DEFAULT_MAX_TOKENS, stop = [], seed = randomSeed(), logprobs = null } = options;
  if (!Number.isInteger(maxTokens) || maxTokens < 1) throw wrong("maxTokens must be a whole number of at least 1");
  const sequences = typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(sequences) || sequences.length > MAX_STOP_SEQUENCES || !sequences.every(isText)) {
    throw wrong(`stop must be at most ${MAX_STOP_SEQUENCES} strings, none of them empty`);
  }
  if (logprobs !== null && !(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= MAX_LOGPROBS)) {
    throw wrong(`logprobs must be a whole number from 0 to ${MAX_LOGPROBS}`);
  }
  const sampling: Partial<Sampling> = { seed: checkSeed(seed) };
  for (const [name, low, high, usual, whole] of RANGES) {
    const value = options[name] ?? usual;
    if (typeof value !== "number" || !(value >= low && value <= high) || (whole && !Number.isInteger(value))) {
      throw wrong(`${name} must be ${whole ? "a whole number" : "a number"} from ${low} to ${high}`);
    }
    sampling[name] = value;
  }
  return { maxTokens, stop: sequences, logprobs, sampling: sampling as Sampling };
}

function isText(value: unknown): boolean {
  return typeof value === "string" && value.length > 0;
}

function checkSeed(seed: number | bigint): bigint {
  const whole = typeof seed === "bigint" || Number.isInteger(seed);
  if (!whole || seed < 0 || seed >= 2n ** 64n) throw wrong("seed must be a whole number from 0 to 2**64 - 1");
  return BigInt(seed);
}

function randomSeed(): bigint {
  const [seed = 0n] = crypto.getRandomValues(new BigUint64Array(1));
  return seed;
}

function wrong(message: string): MlrError {
  return new MlrError("RequestError", message);
}
