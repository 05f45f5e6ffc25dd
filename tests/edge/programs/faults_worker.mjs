/** workerd: a bundle's URL is posted, and the name of what is to go wrong; the answer comes back. */
import kernel from "kernel.wasm";
import { faults } from "faults.mjs";
import { load } from "mlr.js";

export default {
  async fetch(request) {
    const { bundle, scenario } = await request.json();
    const loadHere = (location, options) => load(location, { ...options, module: kernel });
    return Response.json(await faults(loadHere, bundle, 0)[scenario]());
  },
};
