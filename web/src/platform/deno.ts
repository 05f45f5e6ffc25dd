import { locatePathOrUrl } from "./paths";
import type { Platform } from "./platform";
import { connectWebWorker } from "./web_worker";

export const platform: Platform = {
  name: "deno",
  cores: navigator.hardwareConcurrency,
  sharesMemory: true,
  threadLimitReason: null,
  memoryAvailable: () => Promise.resolve(null), // asking takes a permission of its own
  connect: connectWebWorker,
};

export const locate = locatePathOrUrl;
