import { parentPort } from "node:worker_threads";
import { openFolder } from "../shards/folder";
import type { Scope } from "./scope";

export const scope: Scope = {
  post: (message) => parentPort?.postMessage(message),
  onMessage: (listener) => parentPort?.on("message", listener),
  openStore: openFolder,
  turn: () =>
    new Promise((resolve) => {
      setImmediate(resolve);
    }),
};
