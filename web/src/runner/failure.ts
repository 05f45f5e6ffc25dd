import { KernelError } from "../kernel/feeder";
import { MlrError } from "../shared/errors";
import { TABLES } from "./tables";

/** What was thrown as an `MlrError`; a kernel's number gets its sentence. */
export function asMlrError(error: unknown): MlrError {
  if (error instanceof MlrError) return error;
  if (error instanceof KernelError) {
    const { name, sentence } = TABLES.errors[error.code] ?? {
      name: "EngineError",
      sentence: `unknown kernel error ${error.code}`,
    };
    return new MlrError(name, `${error.asked}: ${sentence}`, { cause: error });
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new MlrError("EngineError", `${message}; load the model again`, { cause: error });
}
