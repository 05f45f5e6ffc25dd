import type { Fetch } from "../scope/scope";

/** How files are fetched. */
export interface Network {
  fetch: Fetch;
  /** Milliseconds without any bytes after which a request has stalled. */
  stallMs: number;
}

export const STALL_MS = 30_000;
