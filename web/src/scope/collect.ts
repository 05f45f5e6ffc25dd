const MORE_THAN_THERE_IS = 2 ** 52; // bytes

/**
 * Have V8 collect now what is not used, and give the room back: it does before it refuses a buffer.
 * Of what a worker's start and a load leave behind it collects little by itself, and nothing in a
 * thread that computes. Takes 10 to 20 ms.
 */
export function collectGarbage(): void {
  try {
    new ArrayBuffer(MORE_THAN_THERE_IS);
  } catch {
    // refused
  }
}
