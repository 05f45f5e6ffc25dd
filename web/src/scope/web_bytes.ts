/** What the web has for bytes. */
import type { Bytes } from "./scope";

export function webBytes(giveBack: Bytes["giveBack"]): Bytes {
  return {
    sha256: async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)),
    giveBack,
  };
}
