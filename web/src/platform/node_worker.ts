/** What the build of Node.js takes for the global `Worker`, which Node.js does not have. */
export { Worker } from "node:worker_threads";
