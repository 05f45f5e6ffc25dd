/** workerd: posts of `{contextLength}` load the model, those of `{prompt, maxTokens}` ask it. */
import kernel from "kernel.wasm";
import { load } from "mlr.js";

let model;

export default {
  async fetch(request, env) {
    const { contextLength, prompt, maxTokens } = await request.json();
    const fetch = (url, init) => env.BUNDLE.fetch(url, init);
    if (contextLength) model = await load("http://bundle/", { module: kernel, contextLength, fetch });
    if (prompt) await model.generate(prompt, { maxTokens, temperature: 0 });
    return new Response();
  },
};
