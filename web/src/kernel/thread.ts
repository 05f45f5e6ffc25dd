/** The worker in which one further kernel thread computes. */
import { scope } from "#scope";
import { instantiate } from "./module";
import type { ThreadReply, ThreadRequest } from "./threads";

scope.onMessage((message) => {
  const { module, memory, index } = message as ThreadRequest;
  const kernel = instantiate(module, memory);
  scope.post({ type: "ready" } satisfies ThreadReply);
  try {
    kernel.mlr_worker(index); // until mlr_close on the first instance
  } catch {
    kernel.mlr_abort(); // the call under way on the first instance then reports the failure
  }
});
