/** Give a buffer's memory back at once: the collector takes its time over what is not in its heap. */
export function release(buffer: ArrayBuffer & { transfer?: (size: number) => ArrayBuffer }): void {
  if (buffer.transfer) {
    buffer.transfer(0);
    return;
  }
  const { port1, port2 } = new MessageChannel();
  port2.close();
  port1.postMessage(null, [buffer]); // to nobody, so it is dropped
}
