/**
 * Memory snapshots of a started Python, kept in the origin private file system.
 *
 * Half of that memory is zeros. They are not stored, and not written when a memory is filled: a page
 * that nobody writes to takes no room. And what is stored is read to where it belongs, since a
 * buffer on the way would be kept until the collector finds it.
 *
 * A file is, in numbers of 32 bits: the size of the memory, of Pyodide's header, and how many runs
 * there are; of each run its start, its end, and the SHA-256 of its bytes; the header; then the
 * SHA-256 of all this, and the runs' bytes. Its name says which Python code and which browser it was
 * made by: one made elsewhere does not fit.
 */
import { openShared } from "../shards/open_shared";
import { ask, directory, remove, SNAPSHOTS } from "../shared/storage";
import { nonZeroRuns, type Run } from "./runs";

const DIGEST_BYTES = 32;
const WORD = 4;
const SIZES_BYTES = 3 * WORD;
const RUN_BYTES = 2 * WORD + DIGEST_BYTES;
const MAX_HEAD_BYTES = 2 ** 24;

/** What a snapshot has to fit: the runtime's files and this browser. */
export async function snapshotName(runtimeId: string): Promise<string> {
  const text = new TextEncoder().encode(`${runtimeId} ${navigator.userAgent}`);
  return hex(await digest(text)).slice(0, 32);
}

/** A snapshot in its file, which is held open until it has been read. */
export class StoredSnapshot {
  /** What Pyodide writes in front of the memory. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** Bytes of the memory. */
  readonly size: number;
  readonly #file: FileSystemSyncAccessHandle;
  readonly #head: Uint8Array<ArrayBuffer>;

  private constructor(file: FileSystemSyncAccessHandle, head: Uint8Array<ArrayBuffer>) {
    const [size = 0, , count = 0] = numbers(head, 0, 3);
    this.header = head.slice(SIZES_BYTES + count * RUN_BYTES);
    this.size = size;
    this.#file = file;
    this.#head = head;
  }

  /** The snapshot of this name, or null when there is none whose beginning is whole. */
  static async open(name: string): Promise<StoredSnapshot | null> {
    const place = await directory(SNAPSHOTS);
    if (!place) return null;
    let file: FileSystemSyncAccessHandle | undefined;
    try {
      file = await openShared(await ask(place, () => place.getFileHandle(name)), "read-only");
      const head = await readHead(file);
      return new StoredSnapshot(file, head);
    } catch {
      file?.close(); // none, a broken one, or another page is writing it
      return null;
    }
  }

  /** Fill a memory that is all zeros; rejects when the file is not whole. */
  async readInto(memory: Uint8Array<ArrayBuffer>): Promise<void> {
    const [, , count = 0] = numbers(this.#head, 0, 3);
    let at = this.#head.length + DIGEST_BYTES;
    const checks: Promise<boolean>[] = [];
    try {
      for (let place = SIZES_BYTES; checks.length < count; place += RUN_BYTES) {
        const [start = 0, end = 0] = numbers(this.#head, place, 2);
        const expected = this.#head.subarray(place + 2 * WORD, place + RUN_BYTES);
        const run = memory.subarray(start, end);
        if (this.#file.read(run, { at }) !== end - start) throw new Error("the snapshot ends early");
        checks.push(digest(run).then((found) => hex(found) === hex(expected)));
        at += end - start;
      }
    } finally {
      this.#file.close();
    }
    if ((await Promise.all(checks)).includes(false)) throw new Error("the snapshot is broken");
  }
}

async function readHead(file: FileSystemSyncAccessHandle): Promise<Uint8Array<ArrayBuffer>> {
  const sizes = new Uint8Array(SIZES_BYTES);
  file.read(sizes, { at: 0 });
  const [, headerSize = 0, count = 0] = numbers(sizes, 0, 3);
  const size = SIZES_BYTES + count * RUN_BYTES + headerSize;
  if (size > MAX_HEAD_BYTES) throw new Error("the snapshot is broken");
  const head = new Uint8Array(size);
  const expected = new Uint8Array(DIGEST_BYTES);
  file.read(head, { at: 0 });
  file.read(expected, { at: size });
  if (hex(await digest(head)) !== hex(expected)) throw new Error("the snapshot is broken");
  return head;
}

/**
 * Keep a snapshot as Pyodide makes it, and no others. Without room for it, or while another page
 * writes or reads: nothing.
 */
export async function storeSnapshot(name: string, snapshot: Uint8Array<ArrayBuffer>): Promise<void> {
  const place = await directory(SNAPSHOTS);
  if (!place) return;
  try {
    for await (const other of place.keys()) {
      if (other !== name) await remove(place, other);
    }
    const [, start = 0] = numbers(snapshot, 0, 2); // where Pyodide's header ends
    const memory = snapshot.subarray(start);
    const runs = nonZeroRuns(memory);
    const head = await headOf(snapshot.subarray(0, start), memory, runs);
    const file = await ask(place, () => place.getFileHandle(name, { create: true }));
    const handle = await ask(file, () => file.createSyncAccessHandle());
    try {
      handle.write(head, { at: 0 });
      handle.write(await digest(head), { at: head.length });
      let at = head.length + DIGEST_BYTES;
      for (const [from, to] of runs) at += handle.write(memory.subarray(from, to), { at });
      handle.truncate(at);
    } finally {
      handle.close();
    }
  } catch {
    // the digests tell a half-written file
  }
}

async function headOf(header: Uint8Array, memory: Uint8Array<ArrayBuffer>, runs: Run[]): Promise<Uint8Array<ArrayBuffer>> {
  const head = new Uint8Array(SIZES_BYTES + runs.length * RUN_BYTES + header.length);
  const view = new DataView(head.buffer);
  [memory.length, header.length, runs.length].forEach((size, i) => {
    view.setUint32(i * WORD, size, true);
  });
  let place = SIZES_BYTES;
  for (const [start, end] of runs) {
    view.setUint32(place, start, true);
    view.setUint32(place + WORD, end, true);
    head.set(await digest(memory.subarray(start, end)), place + 2 * WORD);
    place += RUN_BYTES;
  }
  head.set(header, place);
  return head;
}

/** Remove the snapshot of this name. */
export async function discardSnapshot(name: string): Promise<void> {
  const place = await directory(SNAPSHOTS);
  try {
    if (place) await remove(place, name);
  } catch {
    // another page is reading it
  }
}

/** Numbers of 32 bits. */
function numbers(bytes: Uint8Array, at: number, count: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  return Array.from({ length: count }, (_, i) => view.getUint32(i * WORD, true));
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
