/**
 * Memory snapshots of a started Python, kept in the origin private file system.
 *
 * A file is the SHA-256 of the snapshot (32 bytes), then the snapshot. Its name says which Python
 * code and which browser it was made by: one made elsewhere does not fit.
 */
import { directory, SNAPSHOTS } from "../shared/storage";

const DIGEST_BYTES = 32;

/** What a snapshot has to fit: the runtime's files and this browser. */
export async function snapshotName(runtimeId: string): Promise<string> {
  const text = new TextEncoder().encode(`${runtimeId} ${navigator.userAgent}`);
  return hex(await digest(text)).slice(0, 32);
}

/** The snapshot of this name, or null when there is none that is whole; a broken one is removed. */
export async function readSnapshot(name: string): Promise<Uint8Array<ArrayBuffer> | null> {
  const place = await directory(SNAPSHOTS);
  if (!place) return null;
  try {
    const file = await (await place.getFileHandle(name)).getFile();
    const bytes = new Uint8Array(await file.arrayBuffer());
    const snapshot = bytes.subarray(DIGEST_BYTES);
    if (bytes.length > DIGEST_BYTES && hex(await digest(snapshot)) === hex(bytes.subarray(0, DIGEST_BYTES))) {
      return snapshot;
    }
  } catch {
    return null;
  }
  await discardSnapshot(name);
  return null;
}

/** Keep a snapshot, and no others. Without room for it, or while another page writes: nothing. */
export async function storeSnapshot(name: string, snapshot: Uint8Array<ArrayBuffer>): Promise<void> {
  const place = await directory(SNAPSHOTS);
  if (!place) return;
  try {
    for await (const other of place.keys()) {
      if (other !== name) await place.removeEntry(other);
    }
    const file = await place.getFileHandle(name, { create: true });
    const handle = await file.createSyncAccessHandle();
    try {
      handle.write(await digest(snapshot), { at: 0 });
      handle.write(snapshot, { at: DIGEST_BYTES });
      handle.truncate(DIGEST_BYTES + snapshot.length);
    } finally {
      handle.close();
    }
  } catch {
    // the digest tells a half-written file
  }
}

/** Remove the snapshot of this name. */
export async function discardSnapshot(name: string): Promise<void> {
  const place = await directory(SNAPSHOTS);
  try {
    await place?.removeEntry(name);
  } catch {
    // another page is reading it
  }
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
