/** What every host is asked: the same loads and prompts, answered as plain data. */

async function digest(values) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", values.slice()));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** `mlr` is the package with `logits`; `more` are options of `load` that only this host takes. */
export async function probe(mlr, job, more = {}) {
  const answers = [];
  for (const threads of job.threads) {
    const model = await mlr.load(job.bundle, { threads, contextLength: job.contextLength, ...more });
    const answer = { threads: model.info.threads, detail: model.info.engineDetail, logits: [], completions: [], embeddings: [], refused: [] };
    for (const ids of job.ids) answer.logits.push(await digest(await mlr.logits(model, ids)));
    for (const { prompt, options } of job.generations) {
      const streamed = [];
      const stream = model.stream(prompt, options);
      for await (const token of stream) streamed.push(token);
      const { text, tokenIds, promptTokenIds, finishReason, stopSequence } = stream.completion;
      const tokens = stream.completion.tokens.map(({ id, logprob, topLogprobs }) => ({ id, logprob, topLogprobs }));
      if (streamed.map((token) => token.text).join("") !== text) throw new Error("the stream's text differs");
      answer.completions.push({ text, tokenIds, promptTokenIds, finishReason, stopSequence, tokens });
    }
    for (const { texts, options } of job.embeddings ?? []) {
      const { vectors, tokens, truncated } = await model.embed(texts, options);
      answer.embeddings.push({ vectors: vectors.map((vector) => Array.from(vector)), tokens, truncated });
    }
    for (const { texts, options } of job.refused ?? []) {
      const code = await model.embed(texts, options).then(() => null, (error) => error.code);
      answer.refused.push(code);
    }
    await model.close();
    answers.push(answer);
  }
  return answers;
}
