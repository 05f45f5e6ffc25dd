/** The worker that a model runs in. */
import { scope } from "#scope";
import { openBuilds } from "../kernel/module";
import { STALL_MS } from "../shards/network";
import type { Request } from "../shared/protocol";
import { Runner } from "./runner";

// written out one by one, since bundlers find the files by that
const kernel = {
  relaxed: new URL("../kernel-relaxed.wasm", import.meta.url),
  simd: new URL("../kernel-simd.wasm", import.meta.url),
  relaxed64: new URL("../kernel-relaxed64.wasm", import.meta.url),
};
const runner = new Runner(
  (stallMs = STALL_MS) => ({ network: { fetch: scope.fetch, stallMs }, builds: openBuilds(kernel) }),
  (reply) => {
    scope.post(reply);
  },
);

scope.onMessage((message) => {
  runner.handle(message as Request);
});
