/** The worker that puts weights into the kernel's memory. */
import { messageOf } from "../shared/errors";
import { Feeder, KernelError } from "./feeder";
import { instantiate } from "./module";
import { type LoaderReply, type LoaderRequest, loadWeights } from "./weights";

declare const self: DedicatedWorkerGlobalScope;

const reply = (message: LoaderReply) => {
  self.postMessage(message);
};

self.onmessage = ({ data }: MessageEvent<LoaderRequest>) => {
  const feeder = new Feeder(instantiate(data.module, data.memory), data.memory);
  loadWeights(data.spec, feeder, (stage, done, total) => {
    reply({ type: "progress", stage, done, total });
  }).then(
    (stored) => {
      reply({ type: "done", stored });
    },
    (error: unknown) => {
      if (error instanceof KernelError) reply({ type: "refused", code: error.code, asked: error.asked });
      else reply({ type: "failed", name: error instanceof Error ? error.name : "Error", message: messageOf(error) });
    },
  );
};
