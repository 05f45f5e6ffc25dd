/** The worker that a model runs in. */
import { platform } from "#platform";
import { scope } from "#scope";
import { STALL_MS } from "../shards/network";
import type { Request } from "../shared/protocol";
import { Runner } from "./runner";

const base = new URL("./", import.meta.url);
const runner = new Runner(
  (stallMs = STALL_MS) => ({ network: { fetch: platform.fetch, stallMs }, base, builds: undefined }),
  (reply) => {
    scope.post(reply);
  },
);

scope.onMessage((message) => {
  runner.handle(message as Request);
});
