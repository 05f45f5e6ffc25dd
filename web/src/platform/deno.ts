import { fetchAnything, resolvePathOrUrl } from "./files";
import { detach } from "./give_back";
import { FAST_READING, type Platform } from "./platform";
import { webBytes } from "./web_bytes";
import { connectWebWorker } from "./web_worker";

export const platform: Platform = {
  name: "deno",
  cores: navigator.hardwareConcurrency,
  sharesMemory: true,
  threadLimitReason: null,
  reading: FAST_READING,
  memoryAvailable: () => Promise.resolve(null), // asking takes a permission of its own
  resolve: resolvePathOrUrl,
  fetch: fetchAnything,
  bytes: webBytes(detach),
  connect: connectWebWorker,
};
