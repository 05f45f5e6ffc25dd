/** A worker with an instance of the kernel, which puts the weights in place, computes, or one after the other. */
import { scope } from "#scope";
import { messageOf } from "../shared/errors";
import { Feeder, KernelError } from "./feeder";
import { layOut } from "./layout";
import type { HandOverRequest, LoaderReply, LoaderRequest } from "./loading";
import { instantiate } from "./module";
import type { ThreadReply, ThreadRequest } from "./threads";
import { loadWeights } from "./weights";

/** What has been loaded; undefined when that failed, which has been said. */
let loaded: Promise<LoaderReply | undefined> = Promise.resolve(undefined);

scope.onMessage((message) => {
  const request = message as ThreadRequest | LoaderRequest | HandOverRequest;
  switch (request.type) {
    case "compute":
      compute(request);
      break;
    case "load":
      loaded = load(request);
      break;
    case "hand over":
      void loaded.then((reply) => {
        if (reply) scope.post(reply);
      });
      break;
  }
});

function compute({ module, memory, index }: ThreadRequest): void {
  scope.collectGarbage(); // nothing does while the kernel runs
  const kernel = instantiate(module, memory);
  scope.post({ type: "ready" } satisfies ThreadReply);
  try {
    kernel.mlr_worker(index); // until mlr_close on the first instance
  } catch {
    kernel.mlr_abort(); // the call under way on the first instance then reports the failure
  }
}

async function load({ spec, stallMs, module, layout }: LoaderRequest): Promise<LoaderReply | undefined> {
  const reply = (message: LoaderReply) => {
    scope.post(message);
  };
  try {
    const { memory, exports } = layOut(module, layout);
    const network = { fetch: scope.fetch, stallMs };
    const stored = await loadWeights(spec, new Feeder(exports, memory), network, (stage, done, total) => {
      reply({ type: "progress", stage, done, total });
    });
    return { type: "loaded", memory, stored };
  } catch (error) {
    if (error instanceof KernelError) reply({ type: "refused", code: error.code, asked: error.asked });
    else reply({ type: "failed", name: error instanceof Error ? error.name : "Error", message: messageOf(error) });
    return undefined;
  }
}
