/** What the web has for bytes. */
import type { Bytes } from "./platform";

export const webBytes: Bytes = {
  sha256: async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)),
  borrow: (size) => new ArrayBuffer(size),
  giveBack: (buffer: ArrayBuffer & { transfer?: (size: number) => ArrayBuffer }) => {
    buffer.transfer?.(0); // where it is not there yet, the collector does it
  },
};
