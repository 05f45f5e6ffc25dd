// The kernel in Node, timed: `node kernel.mjs JOB.json` prints a JSON array of runs.
// See bench_kernel.py, which writes the job and does the same under wasmtime.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { Worker, isMainThread, workerData } from "node:worker_threads";

const PAGE = 65536;

/** Seconds that a call takes. (Node counts a thread's processor time in ticks, too coarse here.) */
function seconds(call) {
  const start = performance.now();
  call();
  return (performance.now() - start) / 1e3;
}

function openModel(job, path) {
  const module = new WebAssembly.Module(readFileSync(path));
  const memory = new WebAssembly.Memory({ initial: job.pages, maximum: job.pages, shared: true });
  const kernel = new WebAssembly.Instance(module, { env: { memory } }).exports;
  const size = kernel.mlr_staging_size();
  const descriptor = readFileSync(job.descriptor);
  new Uint8Array(memory.buffer, kernel.mlr_staging()).set(descriptor);
  check(kernel.mlr_open(descriptor.length, job.context, job.threads, 1, 0), "mlr_open");
  const staging = kernel.mlr_staging(); // another place than before
  const file = openSync(job.model, "r");
  for (let at = job.start; ; ) {
    const n = readSync(file, new Uint8Array(memory.buffer, staging, size), 0, size, at);
    if (n === 0) break;
    check(kernel.mlr_feed(at, n), "mlr_feed");
    at += n;
  }
  closeSync(file);
  check(kernel.mlr_ready(), "mlr_ready");
  const workers = [];
  for (let index = 1; index < job.threads; index++) {
    workers.push(new Worker(new URL(import.meta.url), { workerData: { module, memory, index } }));
  }
  const batch = kernel.mlr_batch();
  const evaluate = (tokens) => {
    for (let from = 0; from < tokens.length; from += batch) {
      const part = tokens.slice(from, from + batch);
      new Int32Array(memory.buffer, kernel.mlr_tokens(), part.length).set(part);
      new Uint32Array(memory.buffer, kernel.mlr_token_sequences(), part.length).fill(0);
      new Uint32Array(memory.buffer, kernel.mlr_wanted(), part.length).fill(0);
      if (from + batch >= tokens.length) {
        new Uint32Array(memory.buffer, kernel.mlr_wanted())[part.length - 1] = 1;
      }
      check(kernel.mlr_eval(part.length), "mlr_eval");
    }
  };
  return {
    prefill() {
      check(kernel.mlr_truncate(0, 0), "mlr_truncate");
      return seconds(() => evaluate(job.prompt));
    },
    decode() {
      check(kernel.mlr_truncate(0, 0), "mlr_truncate");
      evaluate(job.prompt.slice(0, 16));
      return seconds(() => {
        for (let n = 0; n < job.newTokens; n++) evaluate([kernel.mlr_sample(0, 0)]);
      });
    },
    close() {
      kernel.mlr_close();
    },
  };
}

function openProducts(job, path) {
  const memory = new WebAssembly.Memory({ initial: job.pages, maximum: job.pages, shared: true });
  const module = new WebAssembly.Module(readFileSync(path));
  const { bench_prepare, bench_run } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  return {
    product({ type, rows, cols, tokens, repeats }) {
      check(bench_prepare(type, rows, cols), "bench_prepare");
      return seconds(() => bench_run(tokens, repeats));
    },
    close() {},
  };
}

/** Bytes a second that one thread reads; `streaming.py` does the same under wasmtime. */
function bandwidth({ path, bytes, passes, runs }) {
  const module = new WebAssembly.Module(readFileSync(path));
  const pages = bytes / PAGE;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const { write, read } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  write();
  const times = Array.from({ length: runs }, () => seconds(() => read(0, bytes, passes)));
  return (bytes * passes) / Math.min(...times);
}

function check(code, name) {
  if (code < 0) throw new Error(`${name} failed: ${code}`);
}

if (isMainThread) {
  const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
  const open = job.products ? openProducts : openModel;
  const kernels = job.kernels.map((path) => open(job, path));
  // workers start while this thread gives way
  await new Promise((resolve) => setTimeout(resolve, 200));
  const runs = [];
  for (let repeat = 0; repeat <= job.repeats; repeat++) {
    const times = kernels.map((kernel) =>
      job.products
        ? job.products.map((product) => kernel.product(product))
        : [kernel.prefill(), kernel.decode()],
    );
    if (repeat > 0) runs.push(times); // the first is for warming up
  }
  for (const kernel of kernels) kernel.close();
  const read = job.stream ? bandwidth(job.stream) : null;
  console.log(JSON.stringify({ node: process.version, v8: process.versions.v8, runs, bandwidth: read }));
  process.exit(0);
} else {
  const { module, memory, index } = workerData;
  new WebAssembly.Instance(module, { env: { memory } }).exports.mlr_worker(index);
}
