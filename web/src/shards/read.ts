import { scope } from "#scope";
import { Buffers } from "./buffers";
import type { Network } from "./network";
import { Queue } from "./queue";
import { ShardReader } from "./shard";
import { sha256 } from "./digest";
import type { Store, StoredFile } from "./store";
import { neededShards, type Piece, type VariantSpec } from "./variant";

interface Active {
  queue: Queue<Piece>;
  done: Promise<void>;
}

/**
 * The pieces of a variant's file in order, from the chunk that holds `spec.start`, each verified.
 * The bytes of a piece are valid until the next one is asked for.
 *
 * Several shards are read at once, from `store` where they are there, else from the network into
 * it. `ready` is told how many bytes are there of how many. Ending the iteration ends the requests
 * and keeps what has arrived. Throws `FetchError` or `IntegrityError`.
 */
export async function* readVariant(
  spec: VariantSpec,
  store: Store | null,
  network: Network,
  ready: (done: number, total: number) => void,
): AsyncGenerator<Piece, void, undefined> {
  const needed = neededShards(spec);
  await store?.register((await sha256(new TextEncoder().encode(spec.location))).slice(0, 32), {
    name: spec.name,
    location: spec.location,
    shards: { ...spec.others, ...Object.fromEntries(needed.map(({ shard }) => [shard.sha256, shard.size])) },
  });
  const total = needed.reduce((sum, { shard, first }) => sum + shard.size - first * spec.chunkSize, 0);
  let done = 0;
  const abort = new AbortController();
  const active: Active[] = [];
  const buffers = new Buffers(spec.chunkSize);
  let started = 0;

  const startNext = () => {
    const next = needed[started++];
    if (!next) return;
    const { shard, base, first } = next;
    const queue = new Queue<Piece>(scope.reading.chunks);
    const reader = new ShardReader(shard, spec.chunkSize, base, queue, network, buffers, abort.signal, (bytes) => {
      done += bytes;
      ready(done, total);
    });
    const before = active.at(-1)?.done;
    const run = async () => {
      let file: StoredFile | null = null;
      try {
        file = store && !store.full ? await store.file(shard.sha256, shard.url) : null;
        // what is there is read faster than it is used, so one at a time is enough
        if (file && file.size > 0) await before;
        await reader.run(first, file);
        queue.end();
      } catch (error) {
        queue.fail(error);
      } finally {
        file?.close();
      }
    };
    active.push({ queue, done: run() });
  };

  try {
    for (let i = 0; i < scope.reading.shards; i++) startNext();
    for (let current = active[0]; current; current = active[0]) {
      for (let piece = await current.queue.next(); piece; piece = await current.queue.next()) {
        yield piece;
        buffers.give(piece.bytes);
      }
      await current.done;
      active.shift();
      startNext();
    }
  } finally {
    abort.abort(new Error("loading has ended"));
    for (const { queue } of active) queue.end();
    await Promise.all(active.map((one) => one.done)); // their files are closed
    buffers.close();
  }
}
