const PAGE = 4096; // bytes that operating systems hand out at once
const WORD = 4;

/** Where a run of bytes begins and ends. */
export type Run = [start: number, end: number];

/** The runs of pages that are not all zeros, of a memory of whole pages. */
export function nonZeroRuns(memory: Uint8Array): Run[] {
  const runs: Run[] = [];
  for (let start = 0; start < memory.length; start += PAGE) {
    if (isZero(memory.subarray(start, start + PAGE))) continue;
    const last = runs.at(-1);
    if (last?.[1] === start) last[1] += PAGE;
    else runs.push([start, start + PAGE]);
  }
  return runs;
}

function isZero(page: Uint8Array): boolean {
  const aligned = page.byteOffset % WORD === 0 ? page : page.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / WORD).every((word) => word === 0);
}
