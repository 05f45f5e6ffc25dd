/** Who may ask: a bearer token, and pages of which origin. */
import { ApiError } from "./errors";

/** Throws `ApiError` 401 unless the request carries `token`. */
export async function checkToken(request: Request, token: string): Promise<void> {
  const given = /^Bearer +(.*)$/i.exec(request.headers.get("Authorization") ?? "")?.[1];
  // hashes are of one length, and comparing them in full takes the same time for any two
  const [a, b] = await Promise.all([digest(given ?? ""), digest(token)]);
  let difference = given === undefined ? 1 : 0;
  for (const [index, byte] of a.entries()) difference |= byte ^ (b[index] ?? 0);
  if (difference === 0) return;
  throw new ApiError(401, "this needs the header 'Authorization: Bearer …' with the right token", {
    code: "invalid_api_key",
    headers: { "WWW-Authenticate": "Bearer" },
  });
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

/** The answer to a browser that asks before it sends. `origin` is one origin, or `*`. */
export function preflight(request: Request, origin: string): Response {
  // clients send headers of their own, OpenAI's a dozen, and `*` would leave out the token
  const headers = request.headers.get("Access-Control-Request-Headers") ?? "Authorization, Content-Type";
  return withOrigin(
    new Response(null, {
      status: 204,
      headers: {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": headers,
        "Access-Control-Max-Age": "86400",
      },
    }),
    origin,
  );
}

/** Let pages of `origin` read a response. */
export function withOrigin(response: Response, origin: string): Response {
  response.headers.set("Access-Control-Allow-Origin", origin);
  if (origin !== "*") response.headers.append("Vary", "Origin");
  return response;
}
