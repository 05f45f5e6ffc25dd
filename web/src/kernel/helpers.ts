import { MlrError } from "../shared/errors";

/** A worker of the kernel, and a promise that rejects when it fails. */
export class Helper {
  readonly worker: Worker;
  readonly failure: Promise<never>;

  constructor(script: URL) {
    this.worker = new Worker(script, { type: "module" });
    this.failure = new Promise((_, reject) => {
      this.worker.onerror = (event) => {
        event.preventDefault(); // it is reported to whoever waits
        const reason = event.message || "its script could not be loaded";
        reject(new MlrError("EngineError", `a worker of the kernel (${script.pathname}) stopped: ${reason}; load again`));
      };
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
    for (const { worker } of this.#idle.splice(0)) worker.terminate();
  }
}
