import { MlrError } from "../shared/errors";
import { detach } from "./give_back";
import type { Scope } from "./scope";
import { webBytes } from "./web_bytes";

function nobody(): never {
  throw new MlrError("EngineError", "there are no workers here");
}

export const scope: Scope = {
  post: nobody,
  onMessage: nobody,
  openStore: () => Promise.resolve(null),
  fetch: (url, options) => fetch(url, options),
  // every read leaves garbage; files come from near, so that little is lost where they are cut
  reading: { shards: 2, chunks: 1, wholePieces: true },
  bytes: webBytes(detach),
  collectGarbage: () => undefined,
  turn: () =>
    new Promise((resolve) => {
      setTimeout(resolve, 0);
    }),
};
