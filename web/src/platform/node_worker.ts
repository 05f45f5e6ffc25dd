/** What the build of Node.js takes for the global `Worker`, which Node.js does not have. */
import { Worker as NodeWorker } from "node:worker_threads";

// MB for new objects. Node.js lets them grow to 48 in every worker before it collects; ours make few.
const YOUNG = 2;
// MB for old ones, more than any tokenizer takes. With 2,048 or more V8 maps its own code once more
// for every worker, nearer to what it compiles: 1 MB each, for calls that ours make few of, too.
const OLD = 1024;

export class Worker extends NodeWorker {
  constructor(script: URL) {
    super(script, { resourceLimits: { maxYoungGenerationSizeMb: YOUNG, maxOldGenerationSizeMb: OLD } });
  }
}
