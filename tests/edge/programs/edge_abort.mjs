/** workerd: begins to load a bundle, gives up after some milliseconds, and answers after some more. */
import kernel from "kernel.wasm";
import { load } from "mlr.js";

export default {
  async fetch(request) {
    const { bundle, after, wait } = await request.json();
    const options = { module: kernel, signal: AbortSignal.timeout(after) };
    const answer = await load(bundle, options).then(
      () => "loaded",
      ({ name }) => name,
    );
    await new Promise((resolve) => setTimeout(resolve, wait));
    return Response.json(answer);
  },
};
