import type { Files } from "../shards/files";

/** What is used of Deno's own: what it has of Node takes 3 MB of each worker that loads it. */
declare const Deno: {
  openSync(url: URL): {
    statSync(): { size: number };
    seekSync(offset: number, whence: 0): number;
    /** Null at the end. */
    readSync(bytes: Uint8Array): number | null;
    close(): void;
  };
};

export const files: Files = {
  open: (url) => {
    const file = Deno.openSync(new URL(url));
    return {
      size: file.statSync().size,
      read: (offset, bytes) => {
        file.seekSync(offset, 0);
        return file.readSync(bytes) ?? 0;
      },
      close: () => {
        file.close();
      },
    };
  },
  hasher: async () => {
    const { createHash } = await import("node:crypto"); // Web Crypto refuses memory that is shared
    return (bytes) => createHash("sha256").update(bytes).digest("hex");
  },
};
