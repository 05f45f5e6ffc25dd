/** `fetch` for `file:` URLs, where the host's own has none, or no ranges. */
import { type Files, type OpenFile, readFully } from "../shards/files";
import { messageOf } from "../shared/errors";
import type { Fetch } from "./scope";

const PIECE = 1 << 16; // bytes read at a time for readers without a buffer of their own

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
export function fetchWith(files: Files): Fetch {
  return (url, options) => {
    if (!url.startsWith("file:")) return fetch(url, options);
    const range = /^bytes=(\d+)-/.exec(options?.headers?.Range ?? "");
    const start = range ? Number(range[1]) : 0;
    let file: OpenFile;
    try {
      file = files.open(url);
    } catch (error) {
      return Promise.resolve({ ...MISSING, statusText: messageOf(error) });
    }
    const { size } = file;
    return Promise.resolve({
      ok: true,
      status: range ? 206 : 200,
      statusText: "",
      headers: { get: (name) => (name === "Content-Range" ? `bytes ${start}-${size - 1}/${size}` : null) },
      get body() {
        return streamOf(file, start);
      },
      arrayBuffer: () => readFrom(file, start),
    });
  };
}

/** A file from `start` on. It is closed then. */
// eslint-disable-next-line @typescript-eslint/require-await -- what it throws is to reject
async function readFrom(file: OpenFile, start: number): Promise<ArrayBuffer> {
  try {
    const bytes = new Uint8Array(file.size - start);
    if (!readFully(file, start, bytes)) throw new Error("the file has been cut");
    return bytes.buffer;
  } finally {
    file.close();
  }
}

/** A file from `start` on, read into the reader's own buffers. It is closed at the end, or if nobody reads on. */
function streamOf(file: OpenFile, start: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = start;
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: PIECE,
    pull(controller) {
      const request = controller.byobRequest;
      if (!request?.view) throw new Error("nowhere to read to"); // there is, with an autoAllocateChunkSize
      const { buffer, byteOffset, byteLength } = request.view;
      const count = file.read(at, new Uint8Array(buffer, byteOffset, byteLength));
      at += count;
      if (count === 0) {
        file.close();
        controller.close();
      }
      request.respond(count);
    },
    cancel: () => {
      file.close();
    },
  });
}
