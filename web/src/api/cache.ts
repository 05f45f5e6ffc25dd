/** What mlr keeps in this browser for this origin: models, and the snapshot Python starts from. */
import { MlrError, messageOf } from "../shared/errors";
import { ask, type BundleRecord, BUNDLES, directory, remove, SHARDS, SNAPSHOTS } from "../shared/storage";

export interface CacheEntry {
  name: string;
  /** The bundle's URL, or null for Python's snapshot. */
  location: string | null;
  /** Bytes stored. */
  size: number;
  /** Whether everything that loading needs is there. */
  complete: boolean;
}

/** The bundles, by name, then Python's snapshot if there is one. */
export async function list(): Promise<CacheEntry[]> {
  const [stored, records] = await Promise.all([fileSizes(SHARDS), readRecords()]);
  const entries: CacheEntry[] = records.map(({ record }) => {
    const shards = Object.entries(record.shards);
    return {
      name: record.name,
      location: record.location,
      size: shards.reduce((sum, [sha256]) => sum + (stored.get(sha256) ?? 0), 0),
      complete: shards.every(([sha256, size]) => stored.get(sha256) === size),
    };
  });
  entries.sort((a, b) => a.name.localeCompare(b.name));
  const snapshots = sum(await fileSizes(SNAPSHOTS));
  if (snapshots > 0) {
    entries.push({ name: "Python", location: null, size: snapshots, complete: true });
  }
  return entries;
}

/** All bytes stored. */
export async function size(): Promise<number> {
  const sizes = await Promise.all([SHARDS, BUNDLES, SNAPSHOTS].map(fileSizes));
  return sizes.reduce((total, files) => total + sum(files), 0);
}

/**
 * Remove everything, or only the bundles of this name (shards that other bundles use stay) and
 * what no bundle uses any more, since it has changed.
 * Rejects with `StorageError` while a model is being loaded.
 */
export async function clear(name?: string): Promise<void> {
  try {
    await (name === undefined ? clearAll() : clearBundle(name));
  } catch (error) {
    throw new MlrError(
      "StorageError",
      `the cache is in use (${messageOf(error)}): try again when no model is being loaded`,
      { cause: error },
    );
  }
}

async function clearAll(): Promise<void> {
  const root = await directory();
  if (!root) return;
  for (const name of [SHARDS, BUNDLES, SNAPSHOTS]) await remove(root, name);
}

async function clearBundle(name: string): Promise<void> {
  const [shards, bundles] = await Promise.all([directory(SHARDS), directory(BUNDLES)]);
  if (!shards || !bundles) return;
  const records = await readRecords();
  const kept = new Set(
    records.filter(({ record }) => record.name !== name).flatMap(({ record }) => Object.keys(record.shards)),
  );
  for (const sha256 of (await fileSizes(SHARDS)).keys()) {
    if (!kept.has(sha256)) await remove(shards, sha256);
  }
  for (const { file, record } of records) {
    if (record.name === name) await remove(bundles, file);
  }
}

async function readRecords(): Promise<{ file: string; record: BundleRecord }[]> {
  const records = [];
  for await (const file of files(BUNDLES)) {
    try {
      const record = JSON.parse(await (await ask(file, () => file.getFile())).text()) as BundleRecord;
      records.push({ file: file.name, record });
    } catch {
      // being written at this moment: it is there the next time
    }
  }
  return records;
}

async function fileSizes(name: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for await (const file of files(name)) sizes.set(file.name, (await ask(file, () => file.getFile())).size);
  return sizes;
}

async function* files(name: string): AsyncGenerator<FileSystemFileHandle> {
  const place = await directory(name);
  if (!place) return;
  for await (const entry of place.values()) {
    if (entry.kind === "file") yield entry;
  }
}

function sum(sizes: Map<string, number>): number {
  return Array.from(sizes.values()).reduce((total, size) => total + size, 0);
}
