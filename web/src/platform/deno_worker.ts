/**
 * What the build of Deno takes for the global `Worker`. Since version 2.9.1 a worker that a worker
 * starts waits half a second for a debugger before its script, and half a second before its first
 * message. So the model's worker has its maker start further ones, and pass their messages on.
 */
import type { KernelExports } from "../kernel/module";
import type { HandOverRequest, LoaderRequest } from "../kernel/loading";
import type { ThreadRequest } from "../kernel/threads";

declare const self: DedicatedWorkerGlobalScope;

const MODEL = "mlr model"; // the name of a worker whose maker does that

/** Asks for a worker; `port` leads to whoever asks. */
interface Order {
  script: string;
  port: MessagePort;
}

type Request = ThreadRequest | LoaderRequest | HandOverRequest;

/** To the maker: a message for the worker, or its end. */
type ToWorker = { request: Request } | { end: true };

/** To whoever asked: a message of the worker, or why it stopped. */
type FromWorker = { message: unknown } | { failure: string };

/** Starts a model's worker, and what that asks for, which ends with it. */
class ModelWorker extends globalThis.Worker {
  readonly #threads = new Set<Thread>();

  constructor(script: URL, options: WorkerOptions) {
    super(script, { ...options, name: MODEL });
    this.addEventListener("message", (event: MessageEvent<unknown>) => {
      const order = event.data as Order;
      if (!(order.port instanceof MessagePort)) return;
      event.stopImmediatePropagation();
      const thread = new Thread(order, () => this.#threads.delete(thread));
      this.#threads.add(thread);
    });
  }

  override terminate(): void {
    super.terminate();
    for (const thread of this.#threads) thread.abort();
  }
}

/** A worker that a model's worker asked for. */
class Thread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  #computes: ThreadRequest | undefined;

  /** `onEnd` hears that the model's worker has ended it. */
  constructor({ script, port }: Order, onEnd: () => void) {
    const reply = (answer: FromWorker) => {
      port.postMessage(answer);
    };
    this.#port = port;
    this.#worker = new globalThis.Worker(script, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<unknown>) => {
      reply({ message: data });
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      reply({ failure: event.message });
    };
    port.onmessage = ({ data }: MessageEvent<ToWorker>) => {
      if ("end" in data) {
        this.#end();
        onEnd();
      } else {
        if (data.request.type === "compute") this.#computes = data.request;
        this.#worker.postMessage(data.request);
      }
    };
  }

  /** End it though it may wait in the kernel, in which it would stay, and the program with it. */
  abort(): void {
    if (this.#computes) {
      const { module, memory } = this.#computes;
      (new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as KernelExports).mlr_abort();
    }
    this.#end();
  }

  #end(): void {
    this.#worker.terminate();
    this.#port.close(); // it would keep the program running
  }
}

/** In a model's worker: a worker that its maker starts, as far as `connectWebWorker` uses one. */
class ThreadWorker {
  onmessage: ((event: MessageEvent<unknown>) => void) | null = null;
  onerror: ((event: ErrorEvent) => void) | null = null;
  readonly #port: MessagePort;

  constructor(script: URL) {
    const { port1, port2 } = new MessageChannel();
    self.postMessage({ script: script.href, port: port2 } satisfies Order, [port2]);
    port1.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if ("failure" in data) this.onerror?.(new ErrorEvent("error", { message: data.failure }));
      else this.onmessage?.(new MessageEvent("message", { data: data.message }));
    };
    this.#port = port1;
  }

  postMessage(request: Request): void {
    this.#port.postMessage({ request } satisfies ToWorker);
  }

  terminate(): void {
    this.#port.postMessage({ end: true } satisfies ToWorker);
  }
}

export const Worker = self.name === MODEL ? ThreadWorker : ModelWorker;
