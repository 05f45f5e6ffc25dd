/** The files of a bundle in a folder: Node, and Deno through its `node:fs`. */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Store, StoredFile } from "./store";
import { neededShards, type VariantSpec } from "./variant";

/** A store that reads the bundle at a `file:` URL where it lies; null for what is elsewhere. */
export function openFolder(bundle: string): Promise<Store | null> {
  if (!bundle.startsWith("file:")) return Promise.resolve(null);
  return Promise.resolve({
    full: false,
    file: (_, url) => Promise.resolve(openFile(url)),
    register: () => Promise.resolve(),
    readInto,
  });
}

/** The file is the user's: it is only read. */
function openFile(url: string): StoredFile | null {
  const file = open(url);
  if (file === null) return null;
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

function readInto(spec: VariantSpec, room: Uint8Array, take: (offset: number, length: number) => void): number {
  for (const { shard, base, first } of neededShards(spec)) {
    const file = open(shard.url);
    if (file === null) return base + first * spec.chunkSize;
    try {
      for (let chunk = first; chunk < shard.chunks.length; chunk++) {
        const start = chunk * spec.chunkSize;
        const bytes = room.subarray(0, Math.min(spec.chunkSize, shard.size - start));
        if (!readFully(file, start, bytes) || sha256(bytes) !== shard.chunks[chunk]) return base + start;
        take(base + start, bytes.length);
      }
    } finally {
      closeSync(file);
    }
  }
  return spec.size;
}

/** Unlike Web Crypto's, this one reads memory that is shared. */
function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function open(url: string): number | null {
  try {
    return openSync(new URL(url), "r");
  } catch {
    return null;
  }
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
