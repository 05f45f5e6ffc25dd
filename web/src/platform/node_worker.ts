/** What the build of Node.js takes for the global `Worker`, which Node.js does not have. */
import { Worker as NodeWorker } from "node:worker_threads";

// MB for new objects. Node.js lets them grow to 48 in every worker before it collects; ours make few.
const YOUNG = 2;

export class Worker extends NodeWorker {
  constructor(script: URL) {
    super(script, { resourceLimits: { maxYoungGenerationSizeMb: YOUNG } });
  }
}
