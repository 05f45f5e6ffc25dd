/** `POST /v1/completions`. */
import type { Completion } from "mlr";
import { Fields, takePrompts } from "./fields";
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
  const prompts = takePrompts(fields, "prompt", MAX_PROMPTS);
  const maxTokens = fields.number("max_tokens", TOKENS) ?? DEFAULT_MAX_TOKENS;
  const sampling = takeSampling(fields);
  sampling.options.maxTokens = maxTokens;
  const model = await asked.model();
  const shape = new CompletionShape(identify("cmpl", "text_completion", asked.id), sampling.includeUsage);
  return respond(asked, model, prompts, sampling, shape);
}
