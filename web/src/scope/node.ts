import { parentPort } from "node:worker_threads";
import type { Scope } from "./scope";

export const scope: Scope = {
  post: (message) => parentPort?.postMessage(message),
  onMessage: (listener) => parentPort?.on("message", listener),
  openStore: () => Promise.resolve(null),
  turn: () =>
    new Promise((resolve) => {
      setImmediate(resolve);
    }),
};
