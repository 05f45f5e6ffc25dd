/** What differs inside a worker. The build takes one implementation as `#scope`, per host. */
import type { Store } from "../shards/store";

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

/** Where there is memory to spare. */
export const FAST_READING = { shards: 4, chunks: 8, wholePieces: false };

export interface Scope {
  /** Say something to the worker's maker. */
  post(message: unknown): void;
  /** Hear of what the maker says. */
  onMessage(listener: (message: unknown) => void): void;
  /** Where the shards of the bundle at a URL are kept between loads, or null where they are not. */
  openStore(bundle: string): Promise<Store | null>;
  /** Also of `file:` URLs, where there are files. */
  readonly fetch: Fetch;
  /**
   * How many shards are read at once, and how many verified chunks of each wait: bounds the memory.
   * Whether a body is read in pieces of one size, rather than as it comes.
   */
  readonly reading: { shards: number; chunks: number; wholePieces: boolean };
  readonly bytes: Bytes;
  /** Collect garbage at once, where that can be had. Takes a while. */
  collectGarbage(): void;
  /** Let waiting messages be heard. */
  turn(): Promise<void>;
}
