import { scope } from "#scope";

const PIECE = 1 << 18; // bytes

/** Reads the body of a response. */
export interface BodyReader {
  /** The next bytes, which are valid until the next call; null after the last. */
  read(): Promise<Uint8Array<ArrayBuffer> | null>;
  /** Nothing more is wanted. */
  cancel(): void;
}

/** Into one buffer over and over where the host can: new ones would wait for the collector. */
export function readBody(body: ReadableStream<Uint8Array<ArrayBuffer>>): BodyReader {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    return readPieces(body.getReader());
  }
  let buffer = new ArrayBuffer(PIECE);
  const min = scope.reading.wholePieces ? PIECE : 1;
  return {
    read: async () => {
      const { done, value } = await reader.read(new Uint8Array(buffer), { min });
      if (!value) return null;
      buffer = value.buffer;
      if (!done || value.length > 0) return value; // the last bytes may say that there are no more
      scope.bytes.giveBack(buffer);
      return null;
    },
    cancel: () => {
      reader.cancel().catch(() => undefined);
    },
  };
}

function readPieces(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>): BodyReader {
  return {
    read: async () => {
      const { done, value } = await reader.read();
      return done ? null : value;
    },
    cancel: () => {
      reader.cancel().catch(() => undefined);
    },
  };
}
