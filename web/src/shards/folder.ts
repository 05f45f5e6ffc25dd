/** The files of a bundle in a folder: Node.js and Deno. */
import { type Files, type OpenFile, readFully } from "./files";
import type { Store, StoredFile } from "./store";
import { neededShards, type VariantSpec } from "./variant";

/** A store that reads the bundle at a `file:` URL where it lies; null for what is elsewhere. */
export function openFolder(files: Files, bundle: string): Promise<Store | null> {
  if (!bundle.startsWith("file:")) return Promise.resolve(null);
  return Promise.resolve({
    full: false,
    file: (_, url) => Promise.resolve(openFile(files, url)),
    register: () => Promise.resolve(),
    readInto: (spec, room, take) => readInto(files, spec, room, take),
  });
}

/** The file is the user's: it is only read. */
function openFile(files: Files, url: string): StoredFile | null {
  const file = open(files, url);
  if (file === null) return null;
  return {
    size: file.size,
    read: (offset, bytes) => isRead(file, offset, bytes),
    write: () => undefined,
    truncate: () => undefined,
    close: () => {
      file.close();
    },
  };
}

async function readInto(
  files: Files,
  spec: VariantSpec,
  room: Uint8Array,
  take: (offset: number, length: number) => void,
): Promise<number> {
  const sha256 = await files.hasher();
  for (const { shard, base, first } of neededShards(spec)) {
    const file = open(files, shard.url);
    if (file === null) return base + first * spec.chunkSize;
    try {
      for (let chunk = first; chunk < shard.chunks.length; chunk++) {
        const start = chunk * spec.chunkSize;
        const bytes = room.subarray(0, Math.min(spec.chunkSize, shard.size - start));
        if (!isRead(file, start, bytes) || sha256(bytes) !== shard.chunks[chunk]) return base + start;
        take(base + start, bytes.length);
      }
    } finally {
      file.close();
    }
  }
  return spec.size;
}

function open(files: Files, url: string): OpenFile | null {
  try {
    return files.open(url);
  } catch {
    return null;
  }
}

function isRead(file: OpenFile, offset: number, bytes: Uint8Array): boolean {
  try {
    return readFully(file, offset, bytes);
  } catch {
    return false;
  }
}
