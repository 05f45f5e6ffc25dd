/** The files of a bundle in a folder: Node, and Deno through its `node:fs`. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Store, StoredFile } from "./store";

/** A store that reads the bundle at a `file:` URL where it lies; null for what is elsewhere. */
export function openFolder(bundle: string): Promise<Store | null> {
  if (!bundle.startsWith("file:")) return Promise.resolve(null);
  return Promise.resolve({
    full: false,
    file: (_, url) => Promise.resolve(openFile(new URL(url))),
    register: () => Promise.resolve(),
  });
}

/** The file is the user's: it is only read. */
function openFile(url: URL): StoredFile | null {
  let file: number;
  try {
    file = openSync(url, "r");
  } catch {
    return null;
  }
  return {
    size: fstatSync(file).size,
    read: (offset, bytes) => readFully(file, offset, bytes),
    write: () => undefined,
    truncate: () => undefined,
    close: () => {
      closeSync(file);
    },
  };
}

function readFully(file: number, offset: number, bytes: Uint8Array): boolean {
  let done = 0;
  while (done < bytes.length) {
    let count: number;
    try {
      count = readSync(file, bytes, done, bytes.length - done, offset + done);
    } catch {
      return false;
    }
    if (count === 0) return false;
    done += count;
  }
  return true;
}
