import type { WorkerPort } from "../platform/platform";
import { MlrError, messageOf } from "../shared/errors";
import type { LoadProgress, Reply, Request, Token } from "../shared/protocol";

type WithoutId<T> = T extends { id: number } ? Omit<T, "id"> : never;

/** A request without its number. */
export type Ask = WithoutId<Exclude<Request, { type: "stop" }>>;

export interface Pending {
  id: number;
  answer: Promise<unknown>;
}

/** The caller's own: what it throws, or rejects with, ends the load. */
type OnProgress = (progress: LoadProgress) => unknown;

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  onToken: ((token: Token) => void) | undefined;
}

/** Requests to the worker that a model runs in, and its answers. */
export class Connection {
  readonly #worker: WorkerPort;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onProgress: OnProgress | undefined;
  #next = 1;
  #ended: Error | undefined;

  /** Throws a `RequestError` for an `onProgress` that is no function. */
  constructor(worker: WorkerPort, onProgress: OnProgress | undefined) {
    if (onProgress !== undefined && typeof onProgress !== "function") {
      worker.terminate();
      throw new MlrError("RequestError", "onProgress must be a function");
    }
    this.#onProgress = onProgress;
    this.#worker = worker;
    worker.onMessage((message) => {
      this.#receive(message as Reply);
    });
    worker.onFailure((reason) => {
      this.end(new MlrError("EngineError", `the engine's worker stopped: ${reason}; load the model again`));
    });
  }

  /** Send a request. `onToken` hears of a generation's tokens. */
  ask(request: Ask, onToken?: (token: Token) => void): Pending {
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => {
      if (this.#ended) {
        reject(this.#ended);
        return;
      }
      try {
        this.#post({ ...request, id });
      } catch (error) {
        // a function, for example
        const problem = `what is asked for cannot be sent to the model: ${messageOf(error)}`;
        reject(new MlrError("RequestError", problem, { cause: error }));
        return;
      }
      this.#waiting.set(id, { resolve, reject, onToken }); // answers come in a later turn
      this.#worker.keepAlive(true);
    });
    return { id, answer };
  }

  /** Stop a generation, or what embeds. */
  stop(id: number): void {
    if (this.#waiting.has(id)) this.#post({ type: "stop", id });
  }

  /** End the worker; whoever still waits, or asks from now on, gets the error. */
  end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #post(request: Request): void {
    this.#worker.post(request);
  }

  async #report(progress: LoadProgress): Promise<void> {
    try {
      await this.#onProgress?.(progress);
    } catch (error) {
      this.end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #receive(reply: Reply): void {
    if (this.#ended) return; // in edge workers the runner goes on for a while
    if (reply.type === "progress") {
      void this.#report(reply.progress);
      return;
    }
    const waiting = this.#waiting.get(reply.id);
    if (reply.type === "token") {
      waiting?.onToken?.(reply.token);
      return;
    }
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) this.#worker.keepAlive(false);
    if (reply.type === "done") waiting?.resolve(reply.value);
    else waiting?.reject(new MlrError(reply.name, reply.message));
  }
}
