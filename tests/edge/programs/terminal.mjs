/** Node and Deno: `terminal.mjs PACKAGE JOB`, both URLs; prints the answers as JSON. */
import { readFile } from "node:fs/promises";
import { argv } from "node:process";
import { probe } from "./probe.mjs";

const [, , location, job] = argv;
const mlr = await import(location);
let answers;
try {
  answers = await probe(mlr, JSON.parse(await readFile(new URL(job), "utf8")));
} catch (error) {
  answers = { error: error.name, message: String(error.stack) };
}
console.log(JSON.stringify(answers));
