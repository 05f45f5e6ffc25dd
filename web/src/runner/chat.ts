/** Chat templates: messages to the text that a model was trained on. */
import { Template } from "@huggingface/jinja";
import { MlrError, messageOf } from "../shared/errors";
import type { Chat, Message } from "../shared/protocol";

const MAX_TEMPLATE = 128 * 1024;

/** For models without a template: a transcript, one line a message. */
const PLAIN =
  "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}" +
  "{% if add_generation_prompt %}assistant:{% endif %}";

/** The text of a chat under `template`, or as a transcript. Throws `TemplateError`, `RequestError`. */
export function renderChat(template: string | null, chat: Chat, beginToken: string, endToken: string): string {
  if (!Array.isArray(chat.messages) || chat.messages.length === 0) {
    throw new MlrError("RequestError", "messages must be a list with at least one message");
  }
  for (const message of chat.messages as unknown[]) {
    if (typeof (message as Partial<Message> | null)?.role !== "string") {
      throw new MlrError("RequestError", "each of the messages must have a role, and its content");
    }
  }
  if (template !== null && template.length > MAX_TEMPLATE) {
    throw new MlrError("TemplateError", `the chat template is longer than ${MAX_TEMPLATE} characters`);
  }
  try {
    return new Template(template ?? PLAIN).render({
      messages: chat.messages,
      tools: chat.tools ?? null,
      bos_token: beginToken,
      eos_token: endToken,
      add_generation_prompt: true,
    });
  } catch (error) {
    throw new MlrError("TemplateError", `the chat template failed: ${messageOf(error)}`, { cause: error });
  }
}
