import { MlrError } from "../shared/errors";

/** The options of a call, which in plain JavaScript can be anything. Throws `RequestError`. */
export function asOptions<T extends object>(options: T): T {
  if (typeof (options as unknown) !== "object" || (options as unknown) === null) {
    throw new MlrError("RequestError", "options must be an object");
  }
  const { signal } = options as { signal?: Partial<AbortSignal> | null };
  if (signal !== undefined && typeof signal?.throwIfAborted !== "function") {
    throw new MlrError("RequestError", "signal must be an AbortSignal");
  }
  return options;
}
