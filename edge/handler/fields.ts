/** Takes a request's parameters out of its body one by one, checked; what is left is refused. */
import type { Prompt } from "mlr";
import { ApiError } from "./errors";

export interface Range {
  low: number;
  high: number;
  whole?: boolean;
}

export class Fields {
  readonly #fields: Map<string, unknown>;

  constructor(body: Record<string, unknown>) {
    // null asks for nothing
    this.#fields = new Map(Object.entries(body).filter(([, value]) => value !== null));
  }

  /** The value of a parameter that must be there. */
  required(name: string): unknown {
    const value = this.optional(name);
    if (value === undefined) {
      throw new ApiError(400, `missing parameter: '${name}'`, { param: name, code: "missing_required_parameter" });
    }
    return value;
  }

  /** The value of a parameter, undefined when it is absent or null. */
  optional(name: string): unknown {
    const value = this.#fields.get(name);
    this.#fields.delete(name);
    return value;
  }

  number(name: string, { low, high, whole = false }: Range): number | undefined {
    const value = this.optional(name);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !(value >= low && value <= high) || (whole && !Number.isInteger(value))) {
      throw invalid(name, `must be ${whole ? "a whole number" : "a number"} from ${low} to ${high}`);
    }
    return value;
  }

  /** Take a parameter if it has this value; says whether it has. */
  drop(name: string, value: unknown): boolean {
    return this.#fields.get(name) === value && this.#fields.delete(name);
  }

  flag(name: string): boolean {
    const value = this.optional(name) ?? false;
    if (typeof value !== "boolean") throw invalid(name, "must be true or false");
    return value;
  }

  /** Parameters that clients send for bookkeeping; they do not change an answer. */
  ignore(names: string[]): void {
    for (const name of names) this.#fields.delete(name);
  }

  /** Parameters that are not supported: each may have the values that ask for nothing. */
  refuse(unsupported: Record<string, unknown[]>): void {
    for (const [name, off] of Object.entries(unsupported)) {
      const value = this.optional(name);
      if (value === undefined || off.some((one) => JSON.stringify(one) === JSON.stringify(value))) continue;
      throw new ApiError(400, `'${name}' is not supported here: leave it out`, {
        param: name,
        code: "unsupported_parameter",
      });
    }
  }

  /** Throws for a parameter that nobody took. */
  done(): void {
    for (const name of this.#fields.keys()) {
      throw new ApiError(400, `unknown parameter: '${name}'`, { param: name, code: "unknown_parameter" });
    }
  }
}

/** The error of a value that is not right; `problem` goes on after the name. */
export function invalid(name: string, problem: string): ApiError {
  return new ApiError(400, `'${name}' ${problem}`, { param: name, code: "invalid_value" });
}

/** Whether every item of a value is a string; a value that is no list has none. */
export function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** Texts or lists of token ids, from any of the four forms that OpenAI's interface allows; at most `most`. */
export function takePrompts(fields: Fields, name: string, most: number): Prompt[] {
  const value = fields.required(name);
  if (typeof value === "string") return [value];
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid(name, "must be a string, a list of strings, a list of token ids or a list of such lists");
  }
  if (isTokens(value)) return [value];
  if (value.length > most) throw invalid(name, `has ${value.length} items; at most ${most} are allowed`);
  if (isTexts(value) || value.every(isTokens)) return value;
  throw invalid(name, "must hold strings only, or token ids only, or lists of token ids only");
}

/** Whether a value is a list of token ids; whether they are in the vocabulary is the model's to say. */
function isTokens(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isInteger(item));
}
