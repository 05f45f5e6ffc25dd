import { platform } from "#platform";
import type { WorkerPort } from "../platform/platform";
import { MlrError } from "../shared/errors";

/** A worker of the kernel, and a promise that rejects when it fails. */
export class Helper {
  readonly port: WorkerPort;
  readonly failure: Promise<never>;

  constructor(start: () => Worker) {
    this.port = platform.connect(start());
    this.failure = new Promise((_, reject) => {
      this.port.onFailure((reason) => {
        reject(new MlrError("EngineError", `a worker of the kernel stopped: ${reason}; load again`));
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
  readonly #make: () => Helper;
  readonly #idle: Helper[] = [];

  /** `start` starts one; `count` of them are started at once. */
  constructor(
    start: () => Worker,
    readonly count: number,
  ) {
    this.#make = () => new Helper(start);
    for (let i = 0; i < count; i++) this.#idle.push(this.#make());
  }

  take(): Helper {
    return this.#idle.pop() ?? this.#make();
  }

  /** End those that nobody took. */
  close(): void {
    for (const { port } of this.#idle.splice(0)) port.terminate();
  }
}
