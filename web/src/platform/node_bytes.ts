/** What Node.js has for bytes. */
import { createHash } from "node:crypto";
import { sendAway } from "./give_back";
import type { Bytes } from "./platform";

export const nodeBytes: Bytes = {
  // Web Crypto would copy the bytes, and the copies stay in the C library's heap
  sha256: (bytes) => Promise.resolve(createHash("sha256").update(bytes).digest()),
  giveBack: sendAway,
};
