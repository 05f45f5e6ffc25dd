import { parentPort } from "node:worker_threads";
import { openFolder } from "../shards/folder";
import { collectGarbage } from "./collect";
import { fetchWith } from "./file_fetch";
import { sendAway } from "./give_back";
import { files, sha256 } from "./node_files";
import { FAST_READING, type Scope } from "./scope";

export const scope: Scope = {
  post: (message) => parentPort?.postMessage(message),
  onMessage: (listener) => parentPort?.on("message", listener),
  openStore: (bundle) => openFolder(files, bundle),
  fetch: fetchWith(files),
  reading: FAST_READING,
  bytes: { sha256, giveBack: sendAway },
  collectGarbage,
  turn: () =>
    new Promise((resolve) => {
      setImmediate(resolve);
    }),
};
