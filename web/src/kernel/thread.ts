/** A worker with an instance of the kernel, which puts the weights in place, computes, or one after the other. */
import { scope } from "#scope";
import { messageOf } from "../shared/errors";
import { Feeder, KernelError } from "./feeder";
import { instantiate } from "./module";
import type { ThreadReply, ThreadRequest } from "./threads";
import { type LoaderReply, type LoaderRequest, loadWeights } from "./weights";

scope.onMessage((message) => {
  const request = message as ThreadRequest | LoaderRequest;
  if (request.type === "compute") compute(request);
  else void load(request);
});

function compute({ module, memory, index }: ThreadRequest): void {
  scope.collectGarbage();
  const kernel = instantiate(module, memory);
  scope.post({ type: "ready" } satisfies ThreadReply);
  try {
    kernel.mlr_worker(index); // until mlr_close on the first instance
  } catch {
    kernel.mlr_abort(); // the call under way on the first instance then reports the failure
  }
}

async function load({ spec, stallMs, module, memory }: LoaderRequest): Promise<void> {
  const reply = (message: LoaderReply) => {
    scope.post(message);
  };
  try {
    const feeder = new Feeder(instantiate(module, memory), memory);
    const network = { fetch: scope.fetch, stallMs };
    const stored = await loadWeights(spec, feeder, network, (stage, done, total) => {
      reply({ type: "progress", stage, done, total });
    });
    reply({ type: "done", stored });
  } catch (error) {
    if (error instanceof KernelError) reply({ type: "refused", code: error.code, asked: error.asked });
    else reply({ type: "failed", name: error instanceof Error ? error.name : "Error", message: messageOf(error) });
  }
}
