/** Reads a request's JSON body within limits of bytes and depth. */
import { ApiError } from "./errors";
import { MAX_DEPTH } from "./limits";

/** The JSON object in the body. Throws `ApiError`: 413 over `limit` bytes, 415, 400. */
export async function readObject(request: Request, limit: number): Promise<Record<string, unknown>> {
  // a page of another origin can post text or a form without asking, but not JSON
  const type = (request.headers.get("Content-Type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type !== "application/json") {
    throw new ApiError(415, `the request's Content-Type must be application/json, got '${type}'`, {
      code: "unsupported_content_type",
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(await readText(request, limit));
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, `the request's body is not valid JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ApiError(400, "the request's body must be a JSON object");
  }
  checkDepth(value);
  return value as Record<string, unknown>;
}

async function readText(request: Request, limit: number): Promise<string> {
  if (Number(request.headers.get("Content-Length") ?? 0) > limit) throw tooLarge(limit);
  if (!request.body) return "";
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  let size = 0;
  for await (const part of request.body as unknown as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size > limit) throw tooLarge(limit);
    text += decoder.decode(part, { stream: true });
  }
  return text + decoder.decode();
}

/** What is nested deeper than this could not be looked through without overflowing the stack. */
function checkDepth(value: object): void {
  let level: object[] = [value];
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    level = level.flatMap((one) => Object.values(one).filter(isObject));
    if (level.length === 0) return;
  }
  throw new ApiError(400, `the request's body is nested more than ${MAX_DEPTH} levels deep`);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function tooLarge(limit: number): ApiError {
  return new ApiError(413, `the request's body is over ${limit} bytes`, { code: "request_too_large" });
}
