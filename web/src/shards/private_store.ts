import { ask, type BundleRecord, BUNDLES, directory, SHARDS } from "../shared/storage";
import { openShared } from "./open_shared";
import type { Store, StoredFile } from "./store";

/** One file, held open. */
class PrivateFile implements StoredFile {
  readonly #handle: FileSystemSyncAccessHandle;
  readonly #full: () => void;
  #size: number;
  #writable = true;

  constructor(handle: FileSystemSyncAccessHandle, full: () => void) {
    this.#handle = handle;
    this.#full = full;
    this.#size = handle.getSize();
  }

  get size(): number {
    return this.#size;
  }

  read(offset: number, bytes: Uint8Array): boolean {
    return offset + bytes.length <= this.#size && this.#handle.read(bytes, { at: offset }) === bytes.length;
  }

  /** Store bytes. When there is no room, the file stays as it was and no more is stored. */
  write(offset: number, bytes: Uint8Array): void {
    if (!this.#writable) return;
    try {
      if (this.#handle.write(bytes, { at: offset }) !== bytes.length) throw new Error("short write");
      this.#size = Math.max(this.#size, offset + bytes.length);
    } catch {
      this.#writable = false;
      this.truncate(this.#size);
      this.#full();
    }
  }

  truncate(size: number): void {
    try {
      this.#handle.truncate(size);
      this.#size = size;
    } catch {
      this.#writable = false;
    }
  }

  close(): void {
    this.#handle.close();
  }
}

/**
 * Shards in the origin private file system, by SHA-256.
 *
 * Several pages may use a shard at once: all of them write only verified bytes, each at its place,
 * so they write the same; and what is read is verified again.
 */
export class PrivateStore implements Store {
  readonly #shards: FileSystemDirectoryHandle;
  readonly #bundles: FileSystemDirectoryHandle;
  /** Set once the browser has refused to store more. */
  full = false;

  private constructor(shards: FileSystemDirectoryHandle, bundles: FileSystemDirectoryHandle) {
    this.#shards = shards;
    this.#bundles = bundles;
  }

  /** The store, or null where this browser has none. */
  static async open(): Promise<PrivateStore | null> {
    const [shards, bundles] = await Promise.all([directory(SHARDS), directory(BUNDLES)]);
    return shards && bundles ? new PrivateStore(shards, bundles) : null;
  }

  /** A shard's file, or null when it cannot be opened (another page has it). */
  async file(sha256: string): Promise<PrivateFile | null> {
    try {
      const file = await ask(this.#shards, (shards) => shards.getFileHandle(sha256, { create: true }));
      return new PrivateFile(await openShared(file, "readwrite-unsafe"), () => {
        this.full = true;
      });
    } catch {
      return null;
    }
  }

  /** Note which shards a bundle uses. Nothing depends on it but the list of what is stored. */
  async register(key: string, record: BundleRecord): Promise<void> {
    try {
      const file = await ask(this.#bundles, (bundles) => bundles.getFileHandle(`${key}.json`, { create: true }));
      const handle = await openShared(file, "readwrite-unsafe");
      const bytes = new TextEncoder().encode(JSON.stringify(record));
      handle.write(bytes, { at: 0 });
      handle.truncate(bytes.length);
      handle.close();
    } catch {
      // full, or another page is writing the same record
    }
  }
}
