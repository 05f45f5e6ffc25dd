/** A project's worker as it is, and `GET /memory`: the bytes of every WebAssembly memory that it made. */
import worker from "worker.js";

const memories = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor) {
    super(descriptor);
    memories.push(this.buffer.byteLength);
  }
};

/** R2's `get`, on a service that serves the bucket's folder. */
function bucketOf(service) {
  return {
    async get(key, { range } = {}) {
      const headers = range ? { Range: `bytes=${range.offset}-` } : {};
      const response = await service.fetch(`https://bucket/${key}`, { headers });
      if (!response.ok) return null;
      const total = response.headers.get("Content-Range")?.split("/")[1] ?? response.headers.get("Content-Length");
      return { body: response.body, size: Number(total) };
    },
  };
}

export default {
  fetch(request, env, context) {
    if (new URL(request.url).pathname === "/memory") {
      gc(); // what has been let go of does not count
      return Response.json(memories);
    }
    const bindings = env.WEIGHTS ? { ...env, WEIGHTS: bucketOf(env.WEIGHTS) } : env;
    return worker.fetch(request, bindings, context);
  },
};
