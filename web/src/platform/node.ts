import { availableParallelism, freemem } from "node:os";
import type { Worker as NodeWorker } from "node:worker_threads";
import { locatePathOrUrl } from "./paths";
import type { Platform, WorkerPort } from "./platform";

export const platform: Platform = {
  name: "node",
  cores: availableParallelism(),
  sharesMemory: true,
  threadLimitReason: null,
  memoryAvailable: () => Promise.resolve(freemem()),
  connect,
};

export const locate = locatePathOrUrl;

/** Node's workers are of another class: the build puts it in the place of `Worker`. */
function connect(started: Worker): WorkerPort {
  const worker = started as unknown as NodeWorker;
  worker.unref();
  let failed: (reason: string) => void = () => undefined;
  worker.once("error", (error) => {
    failed(error instanceof Error ? error.message : String(error));
  });
  worker.once("exit", (status) => {
    failed(`it ended with status ${status}`);
  });
  return {
    post: (message) => {
      worker.postMessage(message);
    },
    onMessage: (listener) => {
      worker.removeAllListeners("message");
      worker.on("message", listener);
    },
    onFailure: (listener) => {
      let heard = false;
      failed = (reason) => {
        if (!heard) listener(reason);
        heard = true;
      };
    },
    keepAlive: (busy) => {
      if (busy) worker.ref();
      else worker.unref();
    },
    terminate: () => {
      void worker.terminate();
    },
  };
}
