/** What differs between hosts. The build takes one implementation as `#platform`, per host. */

/** A worker as its maker sees it. */
export interface WorkerPort {
  post(message: unknown): void;
  /** Hear of what the worker says. There is one listener; a later one replaces it. */
  onMessage(listener: (message: unknown) => void): void;
  /** Hear, at most once, that the worker stopped by itself, and why. */
  onFailure(listener: (reason: string) => void): void;
  /** Whether somebody waits for an answer: where programs end by themselves, this one must not. */
  keepAlive(busy: boolean): void;
  terminate(): void;
}

export interface Platform {
  readonly name: "browser" | "node" | "deno" | "workerd";
  /** Cores that may be used. */
  readonly cores: number;
  /** Whether memory can be shared with further workers, so that there can be threads. */
  readonly sharesMemory: boolean;
  /** Why there is one thread, for the user; null where there can be more. */
  readonly threadLimitReason: string | null;
  /** Bytes of memory that a model may take; null where it is not known. */
  memoryAvailable(): Promise<number | null>;
  /**
   * A worker that its maker has just started. He writes `new Worker(new URL("./name.js",
   * import.meta.url), …)` out, since bundlers find the script, and what it needs in turn, by that.
   */
  connect(worker: Worker): WorkerPort;
}

/**
 * The absolute URL of a location that a caller gave. Throws `RequestError`. It stands beside the
 * platform as `locate`, so that workers do not load what it takes.
 */
export type Locate = (location: string | URL) => URL;
