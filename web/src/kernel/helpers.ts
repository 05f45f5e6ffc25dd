import { platform } from "#platform";
import type { WorkerPort } from "../platform/platform";
import { MlrError } from "../shared/errors";

/** A worker of the kernel, and a promise that rejects when it fails. */
export class Helper {
  readonly port: WorkerPort;
  readonly failure: Promise<never>;

  constructor(script: URL) {
    this.port = platform.startWorker(script);
    this.failure = new Promise((_, reject) => {
      this.port.onFailure((reason) => {
        reject(new MlrError("EngineError", `a worker of the kernel (${script.pathname}) stopped: ${reason}; load again`));
      });
    });
    this.failure.catch(() => undefined); // whoever waits for the worker hears of it
  }
}

/**
 * Workers that are started before they are needed. A worker starts only while the thread that made
 * it is idle, and that thread is going to be busy reading the tokenizer.
 */
export class Helpers {
  readonly #script: URL;
  readonly #idle: Helper[] = [];

  constructor(script: URL, count: number) {
    this.#script = script;
    for (let i = 0; i < count; i++) this.#idle.push(new Helper(script));
  }

  take(): Helper {
    return this.#idle.pop() ?? new Helper(this.#script);
  }

  /** End those that nobody took. */
  close(): void {
    for (const { port } of this.#idle.splice(0)) port.terminate();
  }
}
