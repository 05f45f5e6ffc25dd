import { MlrError, messageOf } from "../shared/errors";

/** `location` against `base`, if its protocol is one of `protocols`. Throws `RequestError`. */
export function resolveLocation(location: string | URL, base: string | undefined, protocols: string[]): URL {
  let url: URL;
  try {
    url = new URL(location, base);
  } catch (error) {
    throw new MlrError("RequestError", `${String(location)} is not a URL: ${messageOf(error)}`, { cause: error });
  }
  if (!protocols.includes(url.protocol)) {
    throw new MlrError("RequestError", `${url.href}: a bundle is loaded from ${protocols.join(", ")} here`);
  }
  return url;
}
