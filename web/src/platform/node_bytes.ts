/** What Node.js has for bytes. Much of what goes through the C library's heap stays there. */
import { createHash } from "node:crypto";
import type { Bytes } from "./platform";

type Resizable = ArrayBuffer & { resize(size: number): void };
const ResizableBuffer = ArrayBuffer as unknown as new (size: number, options: { maxByteLength: number }) => Resizable;

export const nodeBytes: Bytes = {
  // Web Crypto would copy the bytes
  sha256: (bytes) => Promise.resolve(createHash("sha256").update(bytes).digest()),
  // these buffers come from the operating system, and go back to it
  borrow: (size) => new ResizableBuffer(size, { maxByteLength: size }),
  giveBack: (buffer) => {
    (buffer as Resizable).resize(0);
  },
};
