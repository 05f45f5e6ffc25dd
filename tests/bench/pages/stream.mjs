/**
 * How fast a page reads memory, with a worker for each thread; see `streaming.py`. The module is
 * both what a page imports and what its workers run.
 */
const PAGE = 65536;

/** What measures the bytes a second that `threads` workers read together. */
export async function openStream({ url, bytes, threads, passes, runs }) {
  const module = await WebAssembly.compileStreaming(fetch(url));
  const pages = bytes / PAGE;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  new WebAssembly.Instance(module, { env: { memory } }).exports.write();
  const part = Math.floor(bytes / threads / 64) * 64;
  const workers = Array.from(
    { length: threads },
    () => new Worker(import.meta.url, { type: "module" }),
  );

  /** Every worker's answer to a message is awaited. */
  const ask = (message) =>
    Promise.all(
      workers.map((worker, index) => {
        const answer = new Promise((resolve, reject) => {
          worker.onmessage = resolve;
          worker.onerror = reject;
        });
        worker.postMessage({ ...message, start: index * part, end: (index + 1) * part });
        return answer;
      }),
    );

  await ask({ module, memory });
  return async () => {
    let best = Infinity;
    for (let run = 0; run < runs; run++) {
      const begin = performance.now();
      await ask({ passes });
      best = Math.min(best, performance.now() - begin);
    }
    return (threads * part * passes) / (best / 1e3);
  };
}

if (typeof WorkerGlobalScope !== "undefined") {
  let read;
  globalThis.onmessage = ({ data: { module, memory, start, end, passes } }) => {
    if (module) read = new WebAssembly.Instance(module, { env: { memory } }).exports.read;
    else read(start, end, passes);
    postMessage(null);
  };
}
