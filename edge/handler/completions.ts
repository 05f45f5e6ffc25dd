/** `POST /v1/completions`. */
import type { Completion, Prompt } from "mlr";
import { Fields, invalid, isTexts, isTokens } from "./fields";
import { respond, type Shape, type Usage } from "./generation";
import type { Asked } from "./handler";
import { type Identity, identify } from "./identity";
import { MAX_PROMPTS } from "./limits";
import { takeSampling, TOKENS } from "./sampling";
import type { Events } from "./stream";

const DEFAULT_MAX_TOKENS = 16; // OpenAI's

/** OpenAI's `text_completion` objects; a stream's chunks look like the whole. */
class CompletionShape implements Shape {
  constructor(
    readonly identity: Identity,
    readonly includeUsage: boolean,
  ) {}

  opening(): null {
    return null;
  }

  delta(index: number, text: string): object {
    return this.#chunk([choice(index, text, null)]);
  }

  closing(index: number, reason: string): object {
    return this.#chunk([choice(index, "", reason)]);
  }

  usage(usage: Usage): object {
    return { ...this.#chunk([]), usage };
  }

  whole(completions: Completion[], usage: Usage): object {
    const choices = completions.map((one, index) => choice(index, one.text, one.finishReason));
    return { ...this.identity, choices, usage };
  }

  #chunk(choices: object[]): object {
    return { ...this.identity, choices, ...(this.includeUsage && { usage: null }) };
  }
}

function choice(index: number, text: string, reason: string | null): object {
  return { index, text, logprobs: null, finish_reason: reason };
}

export async function completions(asked: Asked, body: Record<string, unknown>): Promise<Response | Events> {
  const fields = new Fields(body);
  asked.checkModel(fields.required("model"));
  const prompts = takePrompts(fields);
  const maxTokens = fields.number("max_tokens", TOKENS) ?? DEFAULT_MAX_TOKENS;
  const sampling = takeSampling(fields);
  sampling.options.maxTokens = maxTokens;
  const model = await asked.model();
  const shape = new CompletionShape(identify("cmpl", "text_completion", asked.id), sampling.includeUsage);
  return respond(asked, model, prompts, sampling, shape);
}

/** The prompts, from any of the four forms that OpenAI's interface allows. */
function takePrompts(fields: Fields): Prompt[] {
  const value = fields.required("prompt");
  if (typeof value === "string") return [value];
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid("prompt", "must be a string, a list of strings, a list of token ids or a list of such lists");
  }
  if (isTokens(value)) return [value];
  if (value.length > MAX_PROMPTS) {
    throw invalid("prompt", `has ${value.length} prompts; at most ${MAX_PROMPTS} are allowed`);
  }
  if (isTexts(value) || value.every(isTokens)) return value;
  throw invalid("prompt", "must hold strings only, or token ids only, or lists of token ids only");
}
