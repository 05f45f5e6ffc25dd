const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

/** `253 MB`; below ten, with one decimal. */
export function bytes(count: number): string {
  if (count >= 1e9) return `${tenths.format(count / 1e9)} GB`;
  if (count === 0) return "nothing";
  return count >= 1e7 ? `${whole.format(count / 1e6)} MB` : `${tenths.format(count / 1e6)} MB`;
}

/** `830 ms`, or `1.2 s` from a second on. */
export function duration(milliseconds: number): string {
  return milliseconds < 1000 ? `${whole.format(milliseconds)} ms` : `${tenths.format(milliseconds / 1000)} s`;
}

/** `23.4 tokens/s`. */
export function speed(tokensPerSecond: number): string {
  return `${tenths.format(tokensPerSecond)} tokens/s`;
}

/** `1 token`, `2 tokens`. */
export function plural(count: number, noun: string): string {
  return `${whole.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}
