import { MlrError } from "../shared/errors";
import { resolveLocation } from "./location";
import type { Locate, Platform } from "./platform";

export const platform: Platform = {
  name: "workerd",
  cores: 1,
  sharesMemory: false,
  threadLimitReason: "Edge workers have no threads, so the model runs on one.",
  memoryAvailable: () => Promise.resolve(null),
  connect: () => {
    throw new MlrError("EngineError", "there are no workers here");
  },
};

export const locate: Locate = (location) => resolveLocation(location, undefined, ["https:", "http:"]);
