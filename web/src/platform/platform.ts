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

/** Where there is memory to spare. */
export const FAST_READING = { shards: 4, chunks: 8, wholePieces: false };

/** `fetch` as far as it is used here. */
export type Fetch = (url: string, options?: FetchOptions) => Promise<Answer>;

export interface FetchOptions {
  headers?: Record<string, string>;
  cache?: RequestCache;
  signal?: AbortSignal;
}

/** A `Response` as far as it is used here. */
export interface Answer {
  readonly ok: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly headers: Pick<Headers, "get">;
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>> | null;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** What hosts do with many bytes. */
export interface Bytes {
  sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
  /**
   * Give memory back at once: the collector takes its time over what is not in its heap. Nobody
   * may use the buffer any more.
   */
  giveBack(buffer: ArrayBuffer): void;
}

export interface Platform {
  readonly name: "browser" | "node" | "deno" | "workerd";
  /** Cores that may be used. */
  readonly cores: number;
  /** Whether memory can be shared with further workers, so that there can be threads. */
  readonly sharesMemory: boolean;
  /** Why there is one thread, for the user; null where there can be more. */
  readonly threadLimitReason: string | null;
  /**
   * How many shards are read at once, and how many verified chunks of each wait: bounds the memory.
   * Whether a body is read in pieces of one size, rather than as it comes.
   */
  readonly reading: { shards: number; chunks: number; wholePieces: boolean };
  /** Bytes of memory that a model may take; null where it is not known. */
  memoryAvailable(): Promise<number | null>;
  /** The absolute URL of a location that a caller gave. Throws `RequestError`. */
  resolve(location: string | URL): URL;
  /** Also of `file:` URLs, where there are files. */
  readonly fetch: Fetch;
  readonly bytes: Bytes;
  /**
   * A worker that its maker has just started. He writes `new Worker(new URL("./name.js",
   * import.meta.url), …)` out, since bundlers find the script, and what it needs in turn, by that.
   */
  connect(worker: Worker): WorkerPort;
}
