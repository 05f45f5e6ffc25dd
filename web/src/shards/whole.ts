import type { Answer } from "../scope/scope";
import { MlrError, messageOf } from "../shared/errors";
import { fetchOnce } from "./fetch";
import type { Network } from "./network";

const FIRST_BYTES = 2 ** 16; // of a body that does not say how long it is

/**
 * The whole body of a URL, of at most `limit` bytes, in a buffer that only its owner knows: so it can
 * be given back. Throws `FetchError`.
 */
export async function fetchWhole(url: string, limit: number, network: Network): Promise<Uint8Array<ArrayBuffer>> {
  const never = new AbortController().signal; // here, since edge workers refuse it in their global scope
  let bytes = new Uint8Array(0);
  let length = 0;
  const makeRoom = ({ headers }: Answer) => {
    const declared = Number(headers.get("Content-Length") ?? 0) || FIRST_BYTES; // fewer than come where they are packed
    bytes = new Uint8Array(Math.min(declared, limit));
  };
  try {
    for await (const part of fetchOnce(network, url, 0, limit + 1, never, "no-cache", makeRoom)) {
      const needed = length + part.length;
      if (needed > limit) throw new Error(`it has more bytes than the ${limit} that are allowed`);
      if (needed > bytes.length) {
        const larger = new Uint8Array(Math.min(2 * needed, limit));
        larger.set(bytes.subarray(0, length));
        bytes = larger;
      }
      bytes.set(part, length);
      length = needed;
    }
  } catch (error) {
    throw new MlrError("FetchError", `${url}: ${messageOf(error)}`, { cause: error });
  }
  return bytes.subarray(0, length);
}
