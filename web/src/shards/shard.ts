import { MlrError } from "../shared/errors";
import { sha256 } from "./digest";
import { fetchRange } from "./fetch";
import type { Buffers } from "./buffers";
import type { Network } from "./network";
import type { Queue } from "./queue";
import type { StoredFile } from "./store";
import type { Piece, ShardSpec } from "./variant";

const READ_AHEAD = 2; // chunks from the store whose digests are under way at once
const QUEUED = 1; // chunks from the store that wait: it is read faster than they are used

/**
 * Reads one shard, from the store as far as it is there and right, then from the network, and
 * pushes its chunks in order, each verified. What comes from the network is stored.
 */
export class ShardReader {
  readonly #spec: ShardSpec;
  readonly #chunkSize: number;
  readonly #base: number;
  readonly #queue: Queue<Piece>;
  readonly #network: Network;
  readonly #buffers: Buffers;
  readonly #signal: AbortSignal;
  readonly #ready: (bytes: number) => void;

  /** `base` is the shard's offset in the variant's file; `ready` hears of verified bytes. */
  constructor(
    spec: ShardSpec,
    chunkSize: number,
    base: number,
    queue: Queue<Piece>,
    network: Network,
    buffers: Buffers,
    signal: AbortSignal,
    ready: (bytes: number) => void,
  ) {
    this.#spec = spec;
    this.#chunkSize = chunkSize;
    this.#base = base;
    this.#queue = queue;
    this.#network = network;
    this.#buffers = buffers;
    this.#signal = signal;
    this.#ready = ready;
  }

  /** Read from chunk `first` to the end. Throws `FetchError` or `IntegrityError`. */
  async run(first: number, file: StoredFile | null): Promise<void> {
    const next = file ? await this.#fromStore(first, file) : first;
    if (next < this.#spec.chunks.length) await this.#fromNetwork(next, file);
  }

  #start(chunk: number): number {
    return chunk * this.#chunkSize;
  }

  #end(chunk: number): number {
    return Math.min(this.#start(chunk + 1), this.#spec.size);
  }

  async #push(chunk: number, bytes: Uint8Array<ArrayBuffer>, waiting?: number): Promise<boolean> {
    this.#ready(bytes.length);
    return this.#queue.push({ offset: this.#base + this.#start(chunk), bytes }, waiting);
  }

  /** Push what the store has; returns the first chunk that it has not, or has wrongly. */
  async #fromStore(first: number, file: StoredFile): Promise<number> {
    const pending: { bytes: Uint8Array<ArrayBuffer>; digest: Promise<string> }[] = [];
    let chunk = first;
    let ahead = first;
    for (;;) {
      while (ahead < this.#spec.chunks.length && pending.length < READ_AHEAD) {
        const bytes = this.#buffers.take(this.#end(ahead) - this.#start(ahead));
        if (!file.read(this.#start(ahead), bytes)) {
          this.#buffers.give(bytes);
          break;
        }
        pending.push({ bytes, digest: sha256(bytes) });
        ahead++;
      }
      const next = pending.shift();
      if (!next) return chunk;
      if ((await next.digest) !== this.#spec.chunks[chunk]) {
        file.truncate(this.#start(chunk));
        for (const { bytes } of [next, ...pending]) this.#buffers.give(bytes);
        return chunk;
      }
      if (!(await this.#push(chunk, next.bytes, QUEUED))) return this.#spec.chunks.length;
      chunk++;
    }
  }

  async #fromNetwork(first: number, file: StoredFile | null): Promise<void> {
    const stream = fetchRange(this.#network, this.#spec.url, this.#start(first), this.#spec.size, this.#signal);
    let chunk = first;
    let bytes = this.#buffers.take(this.#end(chunk) - this.#start(chunk));
    let filled = 0;
    for await (let part of stream) {
      while (part.length > 0) {
        const taken = part.subarray(0, bytes.length - filled);
        bytes.set(taken, filled);
        filled += taken.length;
        part = part.subarray(taken.length);
        if (filled < bytes.length) continue;
        const verified = await this.#verified(chunk, bytes);
        file?.write(this.#start(chunk), verified);
        if (!(await this.#push(chunk, verified))) return;
        chunk++;
        if (chunk < this.#spec.chunks.length) {
          bytes = this.#buffers.take(this.#end(chunk) - this.#start(chunk));
          filled = 0;
        }
      }
    }
  }

  /** The chunk's bytes if they are right; wrong ones are fetched once more. */
  async #verified(chunk: number, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const expected = this.#spec.chunks[chunk];
    if ((await sha256(bytes)) === expected) return bytes;
    let at = 0;
    const [start, end] = [this.#start(chunk), this.#end(chunk)];
    for await (const part of fetchRange(this.#network, this.#spec.url, start, end, this.#signal)) {
      bytes.set(part, at);
      at += part.length;
    }
    const found = await sha256(bytes);
    if (found === expected) return bytes;
    throw new MlrError(
      "IntegrityError",
      `${this.#spec.url}: chunk ${chunk} (bytes ${start} to ${end}) has the SHA-256 ${found}, the ` +
        `manifest says ${expected}, also when fetched again: the file on the server is damaged or ` +
        "was changed; nothing of the chunk was used",
    );
  }
}
