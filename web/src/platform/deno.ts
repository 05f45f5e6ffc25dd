import { fetchAnything, resolvePathOrUrl } from "./files";
import type { Platform } from "./platform";
import { startWebWorker } from "./web_worker";

export const platform: Platform = {
  name: "deno",
  cores: navigator.hardwareConcurrency,
  sharesMemory: true,
  threadLimitReason: null,
  memoryAvailable: () => Promise.resolve(null), // asking takes a permission of its own
  resolve: resolvePathOrUrl,
  fetch: fetchAnything,
  startWorker: startWebWorker,
};
