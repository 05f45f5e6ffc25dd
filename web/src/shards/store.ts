import type { BundleRecord } from "../shared/storage";

/** A shard's bytes as far as they are there; nobody has checked them. */
export interface ShardFile {
  readonly size: number;
  /** Fill `bytes` from `offset` on; false when they are not all there. */
  read(offset: number, bytes: Uint8Array): boolean;
  /** Keep bytes, where that is possible. */
  write(offset: number, bytes: Uint8Array): void;
  /** Forget everything from `size` on. */
  truncate(size: number): void;
  close(): void;
}

/** Where shards are read from before the network is asked. */
export interface Store {
  /** Set once no more can be kept. */
  readonly full: boolean;
  /** A shard's file, or null when it cannot be opened. */
  shard(sha256: string): Promise<ShardFile | null>;
  /** Note which shards a bundle uses. */
  register(key: string, record: BundleRecord): Promise<void>;
}
