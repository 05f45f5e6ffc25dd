/** Errors in OpenAI's shape, and which HTTP status each error of mlr has. */

export interface ErrorDetails {
  param?: string;
  code?: string;
  headers?: Record<string, string>;
}

/** An answer that is an error: status, and what OpenAI's error object holds. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    message: string,
    readonly details: ErrorDetails = {},
  ) {
    super(message);
  }

  body(): object {
    const { param = null, code = null } = this.details;
    const type = this.status < 500 ? "invalid_request_error" : "server_error";
    return { error: { message: this.message, type, param, code } };
  }

  response(): Response {
    return Response.json(this.body(), { status: this.status, headers: this.details.headers ?? {} });
  }
}

/** What anything that was thrown is over HTTP. What is not an error of mlr is described to nobody. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const { name, message } = error instanceof Error ? error : { name: "", message: "" };
  switch (name) {
    case "ContextLengthError":
      return new ApiError(400, message, { code: "context_length_exceeded" });
    case "RequestError":
      return new ApiError(400, message);
    case "TemplateError":
      return new ApiError(400, message, { param: "messages", code: "chat_template_error" });
    case "UnsupportedModelError":
      return new ApiError(400, message, { param: "model", code: "unsupported_model" });
    case "AbortError":
      return new ApiError(499, "the client has left"); // nobody reads it
  }
  console.error(error);
  if (name.endsWith("Error") && name !== "Error" && !BUGS.has(name)) {
    return new ApiError(500, message, { code: "engine_error" });
  }
  return new ApiError(500, "internal error; the log has the details");
}

const BUGS = new Set(["TypeError", "RangeError", "ReferenceError", "SyntaxError"]);
