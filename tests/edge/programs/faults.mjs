/** What callers see when something goes wrong, in any host. */

const PROMPT = "The theory of the thing";
const LONG = new Array(1500).fill(5);
const OPTIONS = { threads: 2, contextLength: 4096 };

/** How a promise ends: its error's name and code, and how long it took. */
async function outcome(promise) {
  const start = performance.now();
  try {
    const value = await promise;
    return typeof value === "boolean" ? { value } : { tokenIds: value?.tokenIds };
  } catch (error) {
    return { name: error.name, code: error.code, message: error.message, ms: performance.now() - start };
  }
}

/** Read a stream to its end. */
async function last(stream) {
  for await (const { id } of stream) if (id < 0) break;
  return stream.completion;
}

/** How many passes the kernel has made, which this adds one to; where `COUNTING` stands before its script. */
async function passes(model) {
  const { tokens } = await model.generate([5], { maxTokens: 1, logprobs: 0 });
  return -tokens[0].logprob;
}

/**
 * Interrupt a stream at its third token: what it ends with, how many tokens it gave after that (or
 * before `tokenize` was answered), and how many passes all of it took.
 */
async function interrupted(model, way) {
  const aborting = new AbortController();
  const before = await passes(model);
  let heard = 0;
  let after = 0;
  const stream = model.stream([5, 6, 7], { maxTokens: 60, signal: aborting.signal });
  const end = await outcome(
    (async () => {
      for await (const { id } of stream) {
        heard++;
        if (heard > 3) after++;
        if (heard !== 3 || id < 0) continue;
        if (way === "abort") aborting.abort();
        if (way === "break") break;
        if (way === "tokenize") void model.tokenize("a").then(() => stream.return());
      }
    })(),
  );
  return { way, name: end.name, after, passes: (await passes(model)) - before - 1 };
}

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const generate = (model, options) => model.generate(PROMPT, { maxTokens: 20, ...options });

/**
 * What goes wrong, by name: functions that answer plain data. `load` is the host's; `given_up`
 * waits `patience` milliseconds before it gives up on a prompt.
 */
export function faults(load, bundle, patience = 250) {
  async function withModel(use) {
    const model = await load(bundle, OPTIONS);
    try {
      return await use(model);
    } finally {
      await model.close();
    }
  }

  return {
    load: async () => {
      const loading = load(bundle, { ...OPTIONS, timeout: 400 });
      return [await outcome(loading.then((model) => model.close()))];
    },
    aborted_load: async () => [await outcome(load(bundle, { ...OPTIONS, signal: AbortSignal.timeout(300) }))],
    progress: async () => {
      let calls = 0;
      const fail = () => {
        calls++;
        throw new RangeError("no such bar");
      };
      const failLater = async () => fail();
      const answers = [
        await outcome(load(bundle, { ...OPTIONS, onProgress: fail })),
        await outcome(load(bundle, { ...OPTIONS, onProgress: failLater })),
        await outcome(load(bundle, { ...OPTIONS, onProgress: "log" })),
      ];
      const heard = calls;
      await withModel(generate);
      return [...answers, { heard, calls }];
    },
    options: async () => [
      await outcome(load(bundle, { ...OPTIONS, memoryLimit: 2 ** 20 })),
      await outcome(load(bundle, { ...OPTIONS, threads: 0 })),
      await outcome(load(bundle, { ...OPTIONS, contextLength: 2 ** 20 })),
      await outcome(load("ftp://127.0.0.1/", OPTIONS)),
      ...(await withModel(async (model) => [
        await outcome(generate(model, { temperature: -1 })),
        await outcome(generate(model, { tempreature: 1 })),
        await outcome(model.generate([])),
        await outcome(model.generate([1, 99999])),
        await outcome(model.generate(new Array(5000).fill(5))),
        await outcome(model.generate({ messages: [] })),
        await outcome(model.embed(["a"])),
      ])),
    ],
    kinds: async () => [
      await outcome(load(bundle, { ...OPTIONS, thread: 1 })),
      await outcome(load(bundle, { ...OPTIONS, memoryLimit: "1 GB" })),
      await outcome(load(bundle, { ...OPTIONS, timeout: -1 })),
      await outcome(load(5)),
      await outcome(load(null)),
      await outcome(load(bundle, null)),
      await outcome(load(bundle, { ...OPTIONS, signal: 5 })),
      ...(await withModel(async (model) => [
        await outcome(model.generate(undefined)),
        await outcome(model.generate(5)),
        await outcome(model.generate({ messages: [null] })),
        await outcome(model.generate({ messages: [{}] })),
        await outcome(model.generate([1, "2"])),
        await outcome(model.tokenize(5)),
        await outcome(model.detokenize("x")),
        await outcome(generate(model, { stop: () => "." })),
        await outcome(model.generate(PROMPT, null)),
        await outcome(model.generate(PROMPT, { signal: null })),
        await outcome(model.stream(PROMPT, "fast").next()),
        await outcome(model.embed(PROMPT, null)),
        await outcome(model.tokenize(PROMPT, null)),
      ])),
    ],
    cancelled: () =>
      withModel(async (model) => {
        const whole = await outcome(generate(model));
        const endless = { maxTokens: 1e6, signal: AbortSignal.timeout(30) };
        const running = outcome(model.generate([5, 6, 7], endless));
        const waiting = outcome(generate(model, { signal: AbortSignal.timeout(10) }));
        const queued = outcome(generate(model));
        const answers = [whole, await running, await waiting, await queued];
        for await (const token of model.stream(PROMPT, { maxTokens: 1e6 })) {
          if (token.id >= 0) break;
        }
        return [...answers, await outcome(generate(model))];
      }),
    given_up: () =>
      withModel(async (model) => {
        const whole = await outcome(generate(model, { maxTokens: 5 }));
        const streams = [];
        for (const way of ["abort", "tokenize", "break"]) streams.push(await interrupted(model, way));
        const aborting = new AbortController();
        const { signal } = aborting;
        const before = await passes(model);
        const prompt = outcome(model.generate(LONG, { maxTokens: 1, signal }));
        setTimeout(() => aborting.abort(), patience);
        const { name } = await prompt;
        const given = (await passes(model)) - before;
        await model.generate(LONG, { maxTokens: 1 });
        const read = (await passes(model)) - before - given;
        return { streams, prompt: { name, given, read }, same: isSame(whole, await outcome(generate(model, { maxTokens: 5 }))) };
      }),
    embedding: () =>
      withModel(async (model) => {
        const texts = [LONG, ...Array.from({ length: 8 }, (_, i) => [3, 4 + i])];
        const start = performance.now();
        const { vectors } = await model.embed(texts);
        const ms = performance.now() - start;
        const running = outcome(model.embed(texts, { signal: AbortSignal.timeout(patience) }));
        const waiting = outcome(model.embed(texts, { signal: AbortSignal.timeout(patience / 2) }));
        const after = outcome(model.embed(texts.slice(-1)).then((made) => isSame(made.vectors, vectors.slice(-1))));
        const closed = outcome(model.embed(texts));
        const answers = [{ ms }, await running, await waiting, await after];
        await model.close();
        return [...answers, await closed];
      }),
    queued: () =>
      withModel(async (model) => {
        const start = performance.now();
        const running = model.generate([5, 6, 7], { maxTokens: 1000, temperature: 1 }).then(() => performance.now() - start);
        const given = await outcome(model.generate(PROMPT, { signal: AbortSignal.timeout(20) }));
        return [given, { ms: await running }, await outcome(generate(model))];
      }),
    together: () =>
      withModel(async (model) => {
        const stream = model.stream(PROMPT, { maxTokens: 3 });
        const asked = await Promise.all([stream.next(), stream.next(), stream.next(), stream.next()]);
        const tokenIds = asked.map(({ value, done }) => (done ? null : value.id));
        return [{ tokenIds }, await outcome(generate(model, { maxTokens: 3 }))];
      }),
    unsendable: async () => {
      const model = await load(bundle, OPTIONS); // nothing closes it, and the program ends
      return [await outcome(generate(model, { stop: () => "." }))];
    },
    lost: async () => {
      const model = await load(bundle, OPTIONS);
      const answers = [await outcome(generate(model)), await outcome(generate(model))];
      await model.close();
      return answers;
    },
    trap: async () => {
      const model = await load(bundle, OPTIONS);
      const answers = [await outcome(model.generate(new Array(13).fill(5))), await outcome(generate(model))];
      await model.close();
      return [...answers, await outcome(withModel(generate))];
    },
    closed: async () => {
      const model = await load(bundle, OPTIONS);
      const read = model.stream([5], { maxTokens: 1e6 });
      await read.next();
      const begun = model.stream([5], { maxTokens: 1e6 });
      const asked = outcome(begun.next());
      const given = model.stream([5], { maxTokens: 1e6 });
      const left = given.next();
      await given.return();
      const running = outcome(model.generate([5], { maxTokens: 1e6 }));
      await model.close();
      await model.close();
      const answers = [outcome(last(read)), asked, running, outcome(generate(model)), outcome(model.tokenize("a"))];
      return [...(await Promise.all(answers)), await outcome(model.stream([5]).next()), await left];
    },
  };
}
