/** The worker in which one further kernel thread computes. */
import { instantiate } from "./module";
import type { ThreadReply, ThreadRequest } from "./threads";

declare const self: DedicatedWorkerGlobalScope;

const reply = (message: ThreadReply) => {
  self.postMessage(message);
};

self.onmessage = (event: MessageEvent<ThreadRequest>) => {
  const { module, memory, index } = event.data;
  const kernel = instantiate(module, memory);
  reply({ type: "ready" });
  try {
    kernel.mlr_worker(index); // until mlr_close on the first instance
  } catch {
    kernel.mlr_abort(); // the call under way on the first instance then reports the failure
  }
};
