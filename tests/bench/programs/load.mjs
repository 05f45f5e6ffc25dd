/** The npm package in Node.js or Deno: `load.mjs PACKAGE BUNDLE THREADS CONTEXT SHORT LONG`; prints JSON. */
import { readFileSync } from "node:fs";
import { argv } from "node:process";

const [, , location, bundle, threads, contextLength, short, long] = argv;
const { load } = await import(location);

const resident = (field) => {
  const status = readFileSync("/proc/self/status", "ascii");
  return 1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)[1]);
};

const idle = { allocated: resident("RssAnon"), programs: resident("RssFile") }; // mlr maps no files
const start = performance.now();
const model = await load(bundle, { threads: Number(threads), contextLength: Number(contextLength) });
const loaded = performance.now();
await model.generate(short, { maxTokens: 1, temperature: 0 });
const answered = performance.now();
await model.generate(long, { maxTokens: 2, temperature: 0 });
const programs = resident("RssFile");
console.log(
  JSON.stringify({
    load_ms: loaded - start,
    first_token_ms: answered - loaded,
    peak_bytes: resident("VmHWM") - programs - idle.allocated,
    program_bytes: programs - idle.programs,
  }),
);
await model.close();
