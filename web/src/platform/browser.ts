import { resolveLocation } from "./location";
import type { Locate, Platform } from "./platform";
import { connectWebWorker } from "./web_worker";

const SINGLE_THREAD =
  "This page is not cross-origin isolated, so the model runs on one thread. Serve the page with the " +
  "headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp " +
  "to use all cores.";

export const platform: Platform = {
  name: "browser",
  cores: navigator.hardwareConcurrency,
  sharesMemory: self.crossOriginIsolated,
  threadLimitReason: self.crossOriginIsolated ? null : SINGLE_THREAD,
  memoryAvailable: () => {
    // GiB that the device has, a coarse number; absent where the browser does not tell
    const { deviceMemory } = navigator as { deviceMemory?: number };
    return Promise.resolve(deviceMemory ? deviceMemory * 2 ** 30 : null);
  },
  connect: connectWebWorker,
};

export const locate: Locate = (location) => resolveLocation(location, self.location.href, ["https:", "http:"]);
