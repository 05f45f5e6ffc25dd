/** Files as Node.js and Deno have them. They are read at once: threads that read would keep heaps of their own. */
export interface Files {
  /** A file to read, at a `file:` URL. Throws what the host throws. */
  open(url: string): OpenFile;
  /** A function for the SHA-256 of bytes, which may be shared, in lower hexadecimal digits. */
  hasher(): Promise<(bytes: Uint8Array) => string>;
}

export interface OpenFile {
  readonly size: number;
  /** Read from `offset` on into `bytes`; returns how many were read, 0 at the end. Throws what the host throws. */
  read(offset: number, bytes: Uint8Array): number;
  close(): void;
}

/** Fill `bytes` from `offset` on; false where the file ends before. Throws what the host throws. */
export function readFully(file: OpenFile, offset: number, bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length; ) {
    const count = file.read(offset + done, bytes.subarray(done));
    if (count === 0) return false;
    done += count;
  }
  return true;
}
