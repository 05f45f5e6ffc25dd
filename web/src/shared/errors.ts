/**
 * An error that mlr raises on purpose. `name` is the class's name in `mlr.errors`, such as
 * `IntegrityError`, `FetchError`, `CapacityError`, `EngineError`, `RequestError`.
 */
export class MlrError extends Error {
  constructor(name: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = name;
  }

  /** For `switch`: the name without `Error`, such as `integrity`, `fetch`, `context-length`. */
  get code(): string {
    const words = this.name.replace(/Error$/, "").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return words.replace(/^-/, "");
  }
}

/** The message of anything that was thrown, with that of its cause where it is not ours: Node.js says there why. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const why = error instanceof MlrError || !(error.cause instanceof Error) ? "" : error.cause.message;
  return why ? `${error.message}: ${why}` : error.message;
}
