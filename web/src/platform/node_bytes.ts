/** What Node.js has for bytes. */
import { createHash } from "node:crypto";
import { MessageChannel } from "node:worker_threads";
import type { Bytes } from "./platform";

export const nodeBytes: Bytes = {
  // Web Crypto would copy the bytes, and the copies stay in the C library's heap
  sha256: (bytes) => Promise.resolve(createHash("sha256").update(bytes).digest()),
  borrow: (size) => new ArrayBuffer(size),
  // Node.js 20 has no ArrayBuffer.prototype.transfer; what is sent to a closed port is dropped
  giveBack: (buffer) => {
    const { port1, port2 } = new MessageChannel();
    port2.close();
    port1.postMessage(null, [buffer]);
  },
};
