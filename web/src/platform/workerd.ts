import { MlrError } from "../shared/errors";
import { detach } from "./give_back";
import { resolveLocation } from "./location";
import type { Platform } from "./platform";
import { webBytes } from "./web_bytes";

export const platform: Platform = {
  name: "workerd",
  cores: 1,
  sharesMemory: false,
  threadLimitReason: "Edge workers have no threads, so the model runs on one.",
  // every read leaves garbage; files come from near, so that little is lost where they are cut
  reading: { shards: 2, chunks: 1, wholePieces: true },
  memoryAvailable: () => Promise.resolve(null),
  resolve: (location) => resolveLocation(location, undefined, ["https:", "http:"]),
  fetch: (url, options) => fetch(url, options),
  bytes: webBytes(detach),
  connect: () => {
    throw new MlrError("EngineError", "there are no workers here");
  },
};
