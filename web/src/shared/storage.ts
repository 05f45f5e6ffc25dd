/** Where things lie in the origin private file system. */
export const ROOT = "mlr";
export const SHARDS = "shards";
export const BUNDLES = "bundles";
export const SNAPSHOTS = "snapshots";

/** A bundle's record: which files it uses, so that the cache can be listed and emptied. */
export interface BundleRecord {
  name: string;
  location: string;
  shards: Record<string, number>; // SHA-256: bytes
}

/** Handles that have been asked for something and have not answered. */
const asked = new Set<FileSystemHandle>();

/** What a handle answers. Chromium never answers for one that its collector has taken meanwhile, so it is held until then. */
export async function ask<Handle extends FileSystemHandle, Answer>(
  handle: Handle,
  question: (handle: Handle) => Promise<Answer>,
): Promise<Answer> {
  asked.add(handle);
  try {
    return await question(handle);
  } finally {
    asked.delete(handle);
  }
}

/** The directory at `ROOT/...names`, made if needed; null where this browser keeps no files. */
export async function directory(...names: string[]): Promise<FileSystemDirectoryHandle | null> {
  // absent outside https and localhost, and rejected in some private windows
  const storage = (navigator as { storage?: StorageManager }).storage;
  if (!storage || !("getDirectory" in storage)) return null;
  try {
    let place = await storage.getDirectory();
    for (const name of [ROOT, ...names]) {
      place = await ask(place, (parent) => parent.getDirectoryHandle(name, { create: true }));
    }
    return place;
  } catch {
    return null;
  }
}

/** Remove an entry that may be absent; rejects when a file in it is in use. */
export async function remove(place: FileSystemDirectoryHandle, name: string): Promise<void> {
  try {
    await ask(place, () => place.removeEntry(name, { recursive: true }));
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error;
  }
}
