import { MlrError } from "../shared/errors";

export interface ThreadRequest {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  index: number;
}

export interface ThreadReply {
  type: "ready";
}

/** Start threads 1 … `count - 1` on a memory that has been laid out; resolves when all wait. */
export async function startThreads(
  script: URL,
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  count: number,
): Promise<Worker[]> {
  const workers: Worker[] = [];
  try {
    const started: Promise<void>[] = [];
    for (let index = 1; index < count; index++) {
      const worker = new Worker(script, { type: "module", name: `mlr-kernel-${index}` });
      workers.push(worker);
      started.push(ready(worker, { module, memory, index }));
    }
    await Promise.all(started);
    return workers;
  } catch (error) {
    for (const worker of workers) worker.terminate();
    throw error;
  }
}

function ready(worker: Worker, request: ThreadRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.onmessage = () => {
      resolve();
    };
    worker.onerror = (event) => {
      reject(
        new MlrError(
          "EngineError",
          `kernel thread ${request.index} did not start: ${event.message || "its script could not be loaded"}`,
        ),
      );
    };
    worker.postMessage(request);
  });
}
