/** Prompt, sampling controls, the streamed answer and its numbers. */
import type { Model } from "../api/model";
import type { TokenStream } from "../api/stream";
import type { GenerateOptions } from "../shared/protocol";
import { announce, button, element, input } from "./dom";
import * as format from "./format";

const answer = element("answer");
const generated = element("generated");

let running: TokenStream | undefined;

/** The sampling controls as options. */
function readOptions(): GenerateOptions {
  const options: GenerateOptions = {
    maxTokens: input("max-tokens").valueAsNumber,
    temperature: input("temperature").valueAsNumber,
  };
  const seed = input("seed").valueAsNumber;
  return Number.isNaN(seed) ? options : { ...options, seed };
}

/** Follow the text, unless the reader has scrolled away from its end. */
function append(text: string): void {
  const following = answer.scrollHeight - answer.scrollTop - answer.clientHeight < 40;
  generated.append(text);
  if (following) answer.scrollTop = answer.scrollHeight;
}

/** Say what to do with a model that gives no text. */
export function showTask(task: "generate" | "embed" | "rank"): void {
  element("no-text").hidden = task === "generate";
  element("no-text-reason").textContent =
    task === "rank"
      ? "This model ranks documents by how well they answer a query"
      : "This model turns texts into vectors";
  if (task === "generate") showPlaceholder(!generated.textContent);
  else for (const id of ["placeholder", "text"]) element(id).hidden = true;
}

function showPlaceholder(shown: boolean): void {
  element("placeholder").hidden = !shown;
  element("text").hidden = shown;
}

/** Generate from what the form says, showing tokens as they come, until the end or `stop`. */
export async function generate(model: Model): Promise<void> {
  const prompt = element("prompt", HTMLTextAreaElement).value;
  showPlaceholder(false);
  element("echo").textContent = prompt;
  generated.replaceChildren();
  for (const id of ["speed", "first-token", "tokens"]) element(id).textContent = "–";
  answer.scrollTop = answer.scrollHeight;
  announce("Generating.");

  const start = performance.now();
  let first = start;
  let count = 0;
  const stream = model.stream(prompt, readOptions());
  running = stream;
  try {
    for await (const { text } of stream) {
      const now = performance.now();
      count++;
      append(text);
      element("tokens").textContent = String(count);
      if (count === 1) {
        first = now;
        element("first-token").textContent = format.duration(first - start);
      } else {
        element("speed").textContent = format.speed((count - 1) / ((now - first) / 1000));
      }
    }
  } catch (error) {
    if (count === 0) showPlaceholder(true);
    throw error;
  } finally {
    running = undefined;
  }
  const done = stream.completion;
  if (done?.timings.decodeTokensPerSecond) {
    element("speed").textContent = format.speed(done.timings.decodeTokensPerSecond);
  }
  if (done?.timings.firstTokenMs) {
    element("first-token").textContent = format.duration(done.timings.firstTokenMs);
  }
  announce(`${done ? "Done" : "Stopped"}: ${format.plural(count, "token")}. ${generated.textContent}`);
}

/** Stop the generation under way. */
export function stop(): void {
  void running?.return();
}

/** Switch the form between asking and stopping. */
export function showRunning(isRunning: boolean): void {
  button("generate").hidden = isRunning;
  button("stop").hidden = !isRunning;
  button(isRunning ? "stop" : "generate").focus({ preventScroll: true });
  answer.setAttribute("aria-busy", String(isRunning));
}

/** Show what computes, once a model is loaded; null when none is. */
export function showEngine(model: Model | null): void {
  button("generate").disabled = model === null;
  element("engine-facts").hidden = model === null;
  if (!model) return;
  const { info } = model;
  element("engine").textContent = info.engineDetail.startsWith("relaxed") ? "Relaxed SIMD" : "SIMD";
  element("threads").textContent = String(info.threads);
  element("memory").textContent = format.bytes(info.memory.total);
  element("load-time").textContent = format.duration(info.loadMs);
}

/** Keep the number beside the slider right. */
export function connectControls(): void {
  const temperature = input("temperature");
  const show = () => {
    const value = temperature.valueAsNumber;
    element("temperature-value").textContent = value === 0 ? "0, always the likeliest" : String(value);
  };
  temperature.addEventListener("input", show);
  show();
}
