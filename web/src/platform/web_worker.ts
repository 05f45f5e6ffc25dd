import type { WorkerPort } from "./platform";

/** A worker of the web's kind, as browsers and Deno have it. */
export function connectWebWorker(worker: Worker): WorkerPort {
  return {
    post: (message) => {
      worker.postMessage(message);
    },
    onMessage: (listener) => {
      worker.onmessage = (event: MessageEvent<unknown>) => {
        listener(event.data);
      };
    },
    onFailure: (listener) => {
      worker.onerror = (event) => {
        event.preventDefault(); // it is reported to whoever waits
        listener(event.message || "its script could not be loaded");
      };
    },
    keepAlive: () => undefined,
    terminate: () => {
      worker.terminate();
    },
  };
}
