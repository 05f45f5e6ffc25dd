/** What the handler does with its model and its host: `handling.mjs PACKAGE SCENARIO BUNDLE`; prints JSON. */
import { argv } from "node:process";

const [, , location, scenario, bundle] = argv;
const patience = scenario === "late" ? 20 : 30_000; // milliseconds after which loads are given up
const { setTimeout } = globalThis;
globalThis.setTimeout = (work, ms) => setTimeout(work, ms === 120_000 ? patience : ms);

const { createHandler } = await import(new URL("handler.js", location));
const { load } = await import(new URL("node/mlr.js", location));

/** As Cloudflare's: its method is of no use without it. */
class Context {
  #works = [];

  waitUntil(work) {
    this.#works.push(work);
  }

  async count() {
    await Promise.all(this.#works);
    return this.#works.length;
  }
}

/** A handler whose loads wait, each for its own number of milliseconds, and the models so far. */
function handlerOf(waits) {
  const models = [];
  const handle = createHandler({
    id: "tiny",
    load: async () => {
      const ms = waits.shift();
      await new Promise((resolve) => setTimeout(resolve, ms));
      models.push(await load(bundle, { threads: 1 }));
      return models.at(-1);
    },
  });
  return { handle, models };
}

function ask(handle, body, context, signal) {
  const headers = { "Content-Type": "application/json" };
  const content = JSON.stringify({ model: "tiny", prompt: "a", max_tokens: 2, ...body });
  const request = new Request("http://host/v1/completions", { method: "POST", headers, body: content, signal });
  return handle(request, context);
}

const scenarios = {
  context: async () => {
    const { handle, models } = handlerOf([0]);
    const context = new Context();
    const response = await ask(handle, { stream: true }, context);
    const text = await response.text();
    const count = await context.count();
    await models[0].close();
    return { status: response.status, done: text.endsWith("data: [DONE]\n\n"), count };
  },
  left: async () => {
    const { handle, models } = handlerOf([0]);
    await ask(handle);
    const [model] = models;
    const statuses = new Set();
    for (let i = 0; i < 40; i++) {
      const leaving = new AbortController();
      model.stream = (...options) => {
        const tokens = Object.getPrototypeOf(model).stream.apply(model, options);
        const next = tokens.next.bind(tokens);
        tokens.next = async () => {
          const token = await next();
          leaving.abort();
          return token;
        };
        return tokens;
      };
      statuses.add((await ask(handle, { stream: true }, undefined, leaving.signal)).status);
    }
    const { status } = await ask(handle);
    await model.close();
    return { statuses: [...statuses], after: status };
  },
  late: async () => {
    const { handle, models } = handlerOf([300, 1000, 0]);
    const statuses = [(await ask(handle)).status, (await ask(handle)).status];
    await new Promise((resolve) => setTimeout(resolve, 2000)); // both loads have ended
    for (let i = 0; i < 2; i++) statuses.push((await ask(handle)).status);
    const open = await Promise.allSettled(models.map((model) => model.tokenize("a")));
    await Promise.all(models.map((model) => model.close()));
    return { statuses, open: open.map(({ status }) => status) };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
