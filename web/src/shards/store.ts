import type { BundleRecord } from "../shared/storage";
import type { VariantSpec } from "./variant";

/** A file's bytes as far as they are there; nobody has checked them. */
export interface StoredFile {
  readonly size: number;
  /** Fill `bytes` from `offset` on; false when they are not all there. */
  read(offset: number, bytes: Uint8Array): boolean;
  /** Keep bytes, where that is possible. */
  write(offset: number, bytes: Uint8Array): void;
  /** Forget everything from `size` on. */
  truncate(size: number): void;
  close(): void;
}

/** Where a bundle's files are read from before the network is asked. */
export interface Store {
  /** Set once no more can be kept. */
  readonly full: boolean;
  /** The file of this hash and URL, which may be empty; null when it cannot be opened. */
  file(sha256: string, url: string): Promise<StoredFile | null>;
  /** Note which files a bundle uses. */
  register(key: string, record: BundleRecord): Promise<void>;
  /**
   * Read a variant's chunks one by one into `room`, which holds at least one, and have those that
   * are right taken from there. Returns where in the variant's file that ended: at a chunk that is
   * not there or wrong, or with the file. Only where files can be read into shared memory.
   */
  readInto?(spec: VariantSpec, room: Uint8Array, take: (offset: number, length: number) => void): Promise<number>;
}
