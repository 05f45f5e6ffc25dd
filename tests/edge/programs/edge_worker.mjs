/** workerd: a job is posted, the answers come back. */
import kernel from "kernel.wasm";
import * as mlr from "mlr.js";
import { probe } from "probe.mjs";

export default {
  async fetch(request) {
    try {
      return Response.json(await probe(mlr, await request.json(), { module: kernel }));
    } catch (error) {
      return Response.json({ error: error.name, message: String(error.stack) }, { status: 500 });
    }
  },
};
