/** What empty workers take in Node.js or Deno: `workers.mjs COUNT`; prints bytes. */
import { readFileSync } from "node:fs";
import { argv, exit } from "node:process";
import * as threads from "node:worker_threads";

const EMPTY = new URL("data:text/javascript,setInterval(() => {}, 1e6)");
const SETTLE_MS = 1000;

const allocated = () => 1024 * Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "ascii"))[1]);

const Worker = globalThis.Deno ? globalThis.Worker : threads.Worker;
const before = allocated();
const workers = Array.from({ length: Number(argv[2]) }, () => new Worker(EMPTY, { type: "module" }));
await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
console.log(allocated() - before);
for (const worker of workers) worker.terminate();
exit();
