import type { BundleRecord } from "../shared/storage";

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
}
