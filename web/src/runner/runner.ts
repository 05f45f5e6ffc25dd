/** One model, and the generations that run or wait on it: what answers a `Connection`'s requests. */
import { MlrError } from "../shared/errors";
import type { Chat, Embeddings, Prompt, Reply, Request } from "../shared/protocol";
import { asMlrError } from "./failure";
import { renderChat } from "./chat";
import { embed } from "./embedding";
import { generate } from "./generation";
import { type LoadedModel, loadModel, type Surroundings } from "./loading";
import { checkLoading, checkOptions } from "./options";

type Asked = Exclude<Request, { type: "stop" }>;

export class Runner {
  readonly #surroundings: (timeout: number | undefined) => Surroundings;
  readonly #reply: (reply: Reply) => void;
  #model: LoadedModel | undefined;
  #closed = false;
  /** Resolves when all that was asked before has ended. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #stopped = new Set<number>();
  /** Of each request whose turn has not come: answers that it was stopped. */
  readonly #queued = new Map<number, () => void>();

  constructor(surroundings: (timeout: number | undefined) => Surroundings, reply: (reply: Reply) => void) {
    this.#surroundings = surroundings;
    this.#reply = reply;
  }

  /** Answers by `reply`. */
  handle(request: Request): void {
    if (request.type === "stop") {
      this.#stop(request.id);
      return;
    }
    const { id } = request;
    this.#answer(request).then(
      (value) => {
        this.#stopped.delete(id);
        this.#reply({ type: "done", id, value });
      },
      (error: unknown) => {
        this.#stopped.delete(id);
        const { name, message } = asMlrError(error);
        this.#reply({ type: "failed", id, name, message });
      },
    );
  }

  #answer(request: Asked): Promise<unknown> {
    switch (request.type) {
      case "tokenize":
        return this.#now(({ tokenizer }) => {
          if (typeof request.text !== "string") throw new MlrError("RequestError", "text must be a string");
          return tokenizer.encode(request.text, request.addSpecial);
        });
      case "detokenize":
        return this.#now(({ tokenizer }) => tokenizer.decode(listOf(request.ids)));
      case "bytes":
        return this.#now(({ tokenizer }) => listOf(request.ids).map((id) => tokenizer.bytes(id)));
      case "close":
        this.#closed = true;
        return this.#inTurn(() => {
          this.#model?.engine.close();
          this.#model = undefined;
          return null;
        });
      case "load":
        return this.#inTurn(() => this.#load(request));
      case "generate":
        return this.#queue(request.id, (stopped) => this.#generate(request, stopped));
      case "logits":
        return this.#inTurn(() => this.#logits(request.ids));
      case "embed":
        return this.#queue(request.id, (stopped) => this.#embed(request, stopped));
    }
  }

  /** What the engine is not needed for. */
  #now<T>(work: (model: LoadedModel) => T): Promise<T> {
    return Promise.resolve().then(() => work(this.#loaded()));
  }

  /** What has to wait until the engine is free. */
  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** What can be stopped, also before its turn has come; then the answer is null. */
  #queue(id: number, work: (stopped: () => boolean) => Promise<unknown>): Promise<unknown> {
    const stopped = () => this.#closed || this.#stopped.has(id);
    return new Promise((resolve, reject) => {
      this.#queued.set(id, () => {
        resolve(null);
      });
      this.#inTurn(() => (this.#queued.delete(id) && !stopped() ? work(stopped) : null)).then(resolve, reject);
    });
  }

  #stop(id: number): void {
    const answer = this.#queued.get(id);
    if (answer) answer();
    else this.#stopped.add(id);
    this.#queued.delete(id);
  }

  async #load({ url, options }: Extract<Asked, { type: "load" }>): Promise<unknown> {
    checkLoading(options);
    const model = await loadModel(url, options, this.#surroundings(options.timeout), (stage, done, total) => {
      this.#reply({ type: "progress", progress: { stage, done, total } });
    });
    this.#model = model;
    return model.info;
  }

  async #generate(
    { id, prompt, options, tokens }: Extract<Asked, { type: "generate" }>,
    stopped: () => boolean,
  ): Promise<unknown> {
    const { engine, tokenizer } = this.#loaded();
    engine.checkGenerates();
    const checked = checkOptions(options);
    const ids = this.#prompt(prompt);
    engine.checkPrompt(ids);
    return generate(engine, tokenizer, ids, checked, stopped, (token) => {
      if (tokens) this.#reply({ type: "token", id, token });
    });
  }

  async #embed(
    { texts, options }: Extract<Asked, { type: "embed" }>,
    stopped: () => boolean,
  ): Promise<Embeddings | null> {
    const { engine, tokenizer, embedding } = this.#loaded();
    return embed(engine, tokenizer, embedding, texts, options, stopped);
  }

  #prompt(prompt: Prompt | Chat): number[] {
    const { tokenizer, chatTemplate } = this.#loaded();
    if (Array.isArray(prompt)) return prompt;
    if (typeof prompt === "string") return tokenizer.encode(prompt, true);
    if (typeof (prompt as unknown) !== "object" || (prompt as unknown) === null) {
      throw new MlrError("RequestError", "a prompt is a text, a list of token ids, or { messages }");
    }
    const text = renderChat(chatTemplate, prompt, tokenizer.beginToken, tokenizer.endToken);
    // a template writes the beginning of the sequence itself
    return tokenizer.encode(text, chatTemplate === null);
  }

  /** The logits after the last id, as every host must compute them. */
  #logits(ids: number[]): Float32Array {
    const { engine } = this.#loaded();
    engine.checkPrompt(ids);
    for (let start = engine.reuse(ids); start < ids.length; start += engine.batch) {
      const end = Math.min(start + engine.batch, ids.length);
      engine.evaluate(ids.slice(start, end), end === ids.length);
    }
    return engine.logits();
  }

  #loaded(): LoadedModel {
    if (!this.#model || this.#closed) throw new MlrError("EngineError", "no model is loaded; load one first");
    return this.#model;
  }
}

function listOf(ids: unknown): number[] {
  if (Array.isArray(ids)) return ids as number[];
  throw new MlrError("RequestError", "ids must be a list of token ids");
}
