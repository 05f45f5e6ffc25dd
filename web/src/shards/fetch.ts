import type { Answer } from "../scope/scope";
import { MlrError, messageOf } from "../shared/errors";
import { readBody } from "./body";
import type { Network } from "./network";

const ATTEMPTS = 6;
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 3000;

interface Attempt {
  /** Aborted when nothing arrives any more. */
  stalled: AbortController;
  /** Aborted then, and by the caller. */
  signal: AbortSignal;
}

/** A response that retrying does not change. */
class Refusal extends Error {}

/**
 * The bytes of a URL from `start` to `end` (exclusive), as they arrive. A cut connection is taken
 * up again where it broke, by an HTTP Range; the count of attempts begins anew whenever bytes came.
 * What is given out is valid until the next is asked for.
 * Throws `FetchError`.
 */
export async function* fetchRange(
  network: Network,
  url: string,
  start: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  let at = start;
  let failures = 0;
  while (at < end) {
    const before = at;
    try {
      for await (const bytes of fetchOnce(network, url, at, end, signal)) {
        at += bytes.length;
        yield bytes;
      }
      if (at < end) throw new Error(`the connection ended after ${at} of ${end} bytes`);
    } catch (error) {
      signal.throwIfAborted();
      failures = at > before ? 1 : failures + 1;
      if (error instanceof Refusal || failures >= ATTEMPTS) {
        throw new MlrError(
          "FetchError",
          `${url}: ${messageOf(error)}; what has arrived is kept, load again to go on`,
          { cause: error },
        );
      }
      await pause(Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), MAX_PAUSE_MS), signal);
    }
  }
}

/**
 * One request's bytes from `start` on, never more than up to `end`, valid until the next are asked
 * for. `begin` hears of the answer before they come.
 */
export async function* fetchOnce(
  network: Network,
  url: string,
  start: number,
  end: number,
  signal: AbortSignal,
  cache: RequestCache = "no-store", // verified bytes are kept in our own store
  begin?: (answer: Answer) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const stalled = new AbortController();
  const request = { stalled, signal: AbortSignal.any([signal, stalled.signal]) };
  const response = await withTimeout(
    network.fetch(url, {
      headers: start > 0 ? { Range: `bytes=${start}-${end - 1}` } : {},
      cache,
      signal: request.signal,
    }),
    request,
    network.stallMs,
  );
  if (response.status >= 400 && response.status < 500 && ![408, 425, 429].includes(response.status)) {
    const answer = `${response.status} ${response.statusText}`;
    throw new Refusal(url.startsWith("file:") ? response.statusText : `the server answered ${answer}`);
  }
  const { body } = response;
  if (!response.ok || !body) {
    throw new Error(`the server answered ${response.status} ${response.statusText}`);
  }
  begin?.(response);
  let skip = response.status === 206 ? 0 : start; // a server that ignores Range sends it all
  // of another origin a page may read it only where that says so; what is wrong shows in the digests
  const range = response.headers.get("Content-Range");
  if (response.status === 206 && range !== null && !range.startsWith(`bytes ${start}-`)) {
    throw new Refusal("the server answered a Range request with another range");
  }
  let left = end - start;
  const reader = readBody(body);
  try {
    // read on to the end of the body, so that the connection can serve the next request
    for (;;) {
      const value = await withTimeout(reader.read(), request, network.stallMs);
      if (value === null || left === 0) return;
      const bytes = value.subarray(Math.min(skip, value.length)).subarray(0, left);
      skip -= Math.min(skip, value.length);
      left -= bytes.length;
      if (bytes.length > 0) yield bytes;
    }
  } finally {
    reader.cancel();
  }
}

/**
 * What a promise of a request gives, unless `stallMs` pass first or the request is given up. Not
 * every host makes a read of the body fail when its request is aborted, so this does.
 */
function withTimeout<T>(promise: Promise<T>, request: Attempt, stallMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      request.stalled.abort(new Error(`nothing arrived for ${stallMs / 1000} seconds`));
    }, stallMs);
    const giveUp = () => {
      reject(request.signal.reason as Error);
    };
    request.signal.addEventListener("abort", giveUp, { once: true });
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      request.signal.removeEventListener("abort", giveUp);
    });
  });
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
