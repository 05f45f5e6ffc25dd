/** `POST /v1/chat/completions`. */
import type { Completion, Message, Token } from "mlr";
import { Fields, invalid } from "./fields";
import { respond, type Shape, type Usage } from "./generation";
import type { Asked } from "./handler";
import { type Identity, identify } from "./identity";
import { MAX_MESSAGES, MAX_TOKENS } from "./limits";
import { chatLogprobs, Spellings } from "./logprobs";
import { ALTERNATIVES, takeSampling, TOKENS } from "./sampling";
import type { Events } from "./stream";

const ROLES = ["system", "developer", "user", "assistant"];

/** OpenAI's `chat.completion` object, and `chat.completion.chunk` in a stream. */
class ChatShape implements Shape {
  constructor(
    readonly identity: Identity,
    readonly includeUsage: boolean,
    readonly spellings: Spellings,
  ) {}

  opening(index: number): object {
    return this.#chunk([{ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null }]);
  }

  async delta(index: number, text: string, tokens: Token[]): Promise<object> {
    const logprobs = await chatLogprobs(this.spellings, tokens);
    return this.#chunk([{ index, delta: { content: text }, logprobs, finish_reason: null }]);
  }

  closing(index: number, reason: string): object {
    return this.#chunk([{ index, delta: {}, logprobs: null, finish_reason: reason }]);
  }

  usage(usage: Usage): object {
    return { ...this.#chunk([]), usage };
  }

  async whole(completions: Completion[], usage: Usage): Promise<object> {
    const choices = await Promise.all(
      completions.map(async ({ text, finishReason, tokens }, index) => ({
        index,
        message: { role: "assistant", content: text, refusal: null },
        logprobs: await chatLogprobs(this.spellings, tokens),
        finish_reason: finishReason,
      })),
    );
    return { ...this.identity, choices, usage };
  }

  #chunk(choices: object[]): object {
    const object = "chat.completion.chunk";
    return { ...this.identity, object, choices, ...(this.includeUsage && { usage: null }) };
  }
}

export async function chatCompletions(asked: Asked, body: Record<string, unknown>): Promise<Response | Events> {
  const fields = new Fields(body);
  asked.checkModel(fields.required("model"));
  const messages = takeMessages(fields);
  const [old, current] = ["max_tokens", "max_completion_tokens"].map((name) => fields.number(name, TOKENS));
  if (old !== undefined && current !== undefined) {
    throw invalid("max_tokens", "and 'max_completion_tokens' mean the same: send one of them");
  }
  const logprobs = takeLogprobs(fields);
  const sampling = takeSampling(fields);
  sampling.options.maxTokens = current ?? old ?? MAX_TOKENS; // the context has an end of its own
  if (logprobs !== undefined) sampling.options.logprobs = logprobs;
  const model = await asked.model();
  const shape = new ChatShape(identify("chatcmpl", "chat.completion", asked.id), sampling.includeUsage, new Spellings(model));
  return respond(asked, model, [{ messages }], sampling, shape);
}

/** How many alternatives are wanted; undefined: no log probabilities. */
function takeLogprobs(fields: Fields): number | undefined {
  const wanted = fields.flag("logprobs");
  const alternatives = fields.number("top_logprobs", ALTERNATIVES) ?? 0;
  if (alternatives > 0 && !wanted) throw invalid("top_logprobs", "needs 'logprobs': send 'logprobs': true");
  return wanted ? alternatives : undefined;
}

function takeMessages(fields: Fields): Message[] {
  const value = fields.required("messages");
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_MESSAGES) {
    throw invalid("messages", `must be a list of 1 to ${MAX_MESSAGES} messages`);
  }
  return value.map((message: unknown, index) => readMessage(message, `messages[${index}]`));
}

function readMessage(value: unknown, name: string): Message {
  if (typeof value !== "object" || value === null) throw invalid(name, "must be an object");
  const { role, content, ...more } = value as Record<string, unknown>;
  if (typeof role !== "string" || !ROLES.includes(role)) {
    throw invalid(`${name}.role`, `must be one of ${ROLES.join(", ")}`);
  }
  for (const [key, item] of Object.entries(more)) {
    const off = item === null || (Array.isArray(item) && item.length === 0);
    if (!off && key !== "name") throw invalid(`${name}.${key}`, "is not supported here: leave it out");
  }
  // templates know the older name of what developers say
  return { role: role === "developer" ? "system" : role, content: readContent(content, `${name}.content`) };
}

/** A message's text, from a string or from a list of text parts. */
function readContent(value: unknown, name: string): string {
  if (value === null) return "";
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) throw invalid(name, "must be a string or a list of text parts");
  const texts = value.map((part: unknown) => {
    const { type, text } = (part ?? {}) as Record<string, unknown>;
    if (type !== "text" || typeof text !== "string") throw invalid(name, "has a part that is not text");
    return text;
  });
  return texts.join("");
}
