/** Node and Deno: `faults_terminal.mjs PACKAGE SCENARIO BUNDLE`; prints the answer as JSON. */
import { argv } from "node:process";
import { faults } from "./faults.mjs";

const [, , location, scenario, bundle] = argv;
const { load } = await import(location);
console.log(JSON.stringify(await faults(load, bundle)[scenario]()));
