/** Two ways to give the memory of a buffer back at once: what frees it differs between hosts. */

/** Send it to nobody: what comes to a closed port is dropped. */
export function sendAway(buffer: ArrayBuffer): void {
  const { port1, port2 } = new MessageChannel();
  port2.close();
  port1.postMessage(null, [buffer]);
}

/** Detach it. Chromium frees what its functions have seen no sooner for that, and Node.js 20 has no `transfer`. */
export function detach(buffer: ArrayBuffer & { transfer?: (size: number) => ArrayBuffer }): void {
  buffer.transfer?.(0);
}
