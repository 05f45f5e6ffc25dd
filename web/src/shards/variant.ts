/** A variant of a bundle as the shard reader needs it. */
export interface VariantSpec {
  name: string;
  /** The bundle's URL. */
  location: string;
  /** Bytes of all shards together. */
  size: number;
  chunkSize: number;
  /** The first byte of the file that is needed. */
  start: number;
  shards: ShardSpec[];
  /** Bytes of the bundle's other files that are stored, by their SHA-256. */
  others?: Record<string, number>;
}

export interface ShardSpec {
  url: string;
  size: number;
  sha256: string;
  /** The SHA-256 of each `chunkSize` piece; the last may be shorter. */
  chunks: string[];
}

/** A verified piece of the variant's file. */
export interface Piece {
  offset: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/** The shards from the one that holds the first needed byte on, with their first needed chunk. */
export function neededShards(spec: VariantSpec) {
  let base = 0;
  const needed = [];
  for (const shard of spec.shards) {
    if (base + shard.size > spec.start) {
      const first = Math.floor(Math.max(spec.start - base, 0) / spec.chunkSize);
      needed.push({ shard, base, first });
    }
    base += shard.size;
  }
  return needed;
}
