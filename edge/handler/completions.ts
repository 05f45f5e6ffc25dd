/** `POST /v1/completions`. */
import type { Completion, Token } from "mlr";
import { Fields, takePrompts } from "./fields";
import { respond, type Shape, type Usage } from "./generation";
import type { Asked } from "./handler";
import { type Identity, identify } from "./identity";
import { MAX_PROMPTS } from "./limits";
import { characters, completionLogprobs, Spellings } from "./logprobs";
import { ALTERNATIVES, takeSampling, TOKENS } from "./sampling";
import type { Events } from "./stream";

const DEFAULT_MAX_TOKENS = 16; // OpenAI's

/** OpenAI's `text_completion` objects; a stream's chunks look like the whole. */
class CompletionShape implements Shape {
  /** Characters, by choice. */
  readonly #sent = new Map<number, number>();

  constructor(
    readonly identity: Identity,
    readonly includeUsage: boolean,
    readonly spellings: Spellings,
  ) {}

  opening(): null {
    return null;
  }

  async delta(index: number, text: string, tokens: Token[]): Promise<object> {
    const sent = this.#sent.get(index) ?? 0;
    this.#sent.set(index, sent + characters(text));
    return this.#chunk([choice(index, text, null, await completionLogprobs(this.spellings, tokens, sent))]);
  }

  closing(index: number, reason: string): object {
    return this.#chunk([choice(index, "", reason)]);
  }

  usage(usage: Usage): object {
    return { ...this.#chunk([]), usage };
  }

  async whole(completions: Completion[], usage: Usage): Promise<object> {
    const choices = await Promise.all(
      completions.map(async ({ text, finishReason, tokens }, index) => {
        return choice(index, text, finishReason, await completionLogprobs(this.spellings, tokens, 0));
      }),
    );
    return { ...this.identity, choices, usage };
  }

  #chunk(choices: object[]): object {
    return { ...this.identity, choices, ...(this.includeUsage && { usage: null }) };
  }
}

function choice(index: number, text: string, reason: string | null, logprobs: object | null = null): object {
  return { index, text, logprobs, finish_reason: reason };
}

export async function completions(asked: Asked, body: Record<string, unknown>): Promise<Response | Events> {
  const fields = new Fields(body);
  asked.checkModel(fields.required("model"));
  const prompts = takePrompts(fields, "prompt", MAX_PROMPTS);
  const maxTokens = fields.number("max_tokens", TOKENS) ?? DEFAULT_MAX_TOKENS;
  const logprobs = takeLogprobs(fields);
  fields.refuse({ top_logprobs: [0] }); // of chats
  const sampling = takeSampling(fields);
  sampling.options.maxTokens = maxTokens;
  if (logprobs !== undefined) sampling.options.logprobs = logprobs;
  const model = await asked.model();
  const shape = new CompletionShape(identify("cmpl", "text_completion", asked.id), sampling.includeUsage, new Spellings(model));
  return respond(asked, model, prompts, sampling, shape);
}

/** A number; false is sent for none. */
function takeLogprobs(fields: Fields): number | undefined {
  return fields.drop("logprobs", false) ? undefined : fields.number("logprobs", ALTERNATIVES);
}
