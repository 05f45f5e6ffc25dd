/** The worker that puts weights into the kernel's memory. */
import { platform } from "#platform";
import { scope } from "#scope";
import { messageOf } from "../shared/errors";
import { Feeder, KernelError } from "./feeder";
import { instantiate } from "./module";
import { type LoaderReply, type LoaderRequest, loadWeights } from "./weights";

const reply = (message: LoaderReply) => {
  scope.post(message);
};

scope.onMessage((message) => {
  const { spec, stallMs, module, memory } = message as LoaderRequest;
  const feeder = new Feeder(instantiate(module, memory), memory);
  loadWeights(spec, feeder, { fetch: platform.fetch, stallMs }, (stage, done, total) => {
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
});
