/** `fetch` for `file:` URLs, where the host's own has none: Node, and Deno through its `node:fs`. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { MlrError } from "../shared/errors";
import type { Fetch } from "./platform";
import { resolveLocation } from "./location";

const PIECE = 1 << 20; // bytes read at a time

/** A path or a URL as a URL. */
export function resolvePathOrUrl(location: string | URL): URL {
  if (typeof location !== "string" && !(location instanceof URL)) {
    throw new MlrError("RequestError", `a bundle's location is a path or a URL, got ${String(location)}`);
  }
  const isUrl = location instanceof URL || /^[a-z][a-z0-9+.-]+:/i.test(location);
  // resolve drops a slash at the end, which does not matter for a folder
  const url = isUrl ? location : pathToFileURL(resolve(location));
  return resolveLocation(url, undefined, ["https:", "http:", "file:"]);
}

/** Answers as a server would that knows ranges up to the end of a file. */
export const fetchAnything: Fetch = async (url, options) => {
  if (!url.startsWith("file:")) return fetch(url, options);
  const range = /^bytes=(\d+)-/.exec(new Headers(options?.headers).get("Range") ?? "");
  const start = range ? Number(range[1]) : 0;
  let size: number;
  try {
    size = (await stat(new URL(url))).size;
  } catch (error) {
    return new Response(null, { status: 404, statusText: (error as Error).message });
  }
  const file = createReadStream(new URL(url), { start, highWaterMark: PIECE });
  options?.signal?.addEventListener("abort", () => file.destroy(), { once: true });
  return new Response(Readable.toWeb(file) as ReadableStream<Uint8Array<ArrayBuffer>>, {
    status: range ? 206 : 200,
    headers: { "Content-Length": String(size - start), "Content-Range": `bytes ${start}-${size - 1}/${size}` },
  });
};
