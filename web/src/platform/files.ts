/** `fetch` for `file:` URLs, where the host's own has none: Node, and Deno through its `node:fs`. */
import { type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { MlrError, messageOf } from "../shared/errors";
import type { Fetch } from "./platform";
import { resolveLocation } from "./location";

const PIECE = 1 << 16; // bytes read at a time for readers without a buffer of their own

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

const MISSING = {
  ok: false,
  status: 404,
  headers: { get: () => null },
  body: null,
  arrayBuffer: () => Promise.resolve(new ArrayBuffer(0)),
};

/**
 * Answers as a server would that knows ranges up to the end of a file. Neither `Response` nor
 * `Headers` is used for it: with them Node.js loads all that it has for networks, 8 MB.
 */
export const fetchAnything: Fetch = async (url, options) => {
  if (!url.startsWith("file:")) return fetch(url, options);
  const range = /^bytes=(\d+)-/.exec(options?.headers?.Range ?? "");
  const start = range ? Number(range[1]) : 0;
  let file: FileHandle;
  try {
    file = await open(new URL(url));
  } catch (error) {
    return { ...MISSING, statusText: messageOf(error) };
  }
  const { size } = await file.stat();
  return {
    ok: true,
    status: range ? 206 : 200,
    statusText: "",
    headers: { get: (name) => (name === "Content-Range" ? `bytes ${start}-${size - 1}/${size}` : null) },
    get body() {
      return streamOf(file, start);
    },
    arrayBuffer: () => readFrom(file, start, size),
  };
};

/** A file from `start` to `size`. It is closed then. */
async function readFrom(file: FileHandle, start: number, size: number): Promise<ArrayBuffer> {
  try {
    const bytes = new Uint8Array(size - start);
    for (let at = 0; at < bytes.length; ) {
      const { bytesRead } = await file.read(bytes, at, bytes.length - at, start + at);
      if (bytesRead === 0) throw new Error("the file has been cut");
      at += bytesRead;
    }
    return bytes.buffer;
  } finally {
    await file.close();
  }
}

/** A file from `start` on, read into the reader's own buffers. It is closed at the end, or if nobody reads on. */
function streamOf(file: FileHandle, start: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = start;
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: PIECE,
    async pull(controller) {
      const request = controller.byobRequest;
      if (!request?.view) throw new Error("nowhere to read to"); // there is, with an autoAllocateChunkSize
      const { buffer, byteOffset, byteLength } = request.view;
      const { bytesRead } = await file.read(new Uint8Array(buffer, byteOffset, byteLength), 0, byteLength, at);
      at += bytesRead;
      if (bytesRead === 0) {
        await file.close();
        controller.close();
      }
      request.respond(bytesRead);
    },
    cancel: () => file.close(),
  });
}
