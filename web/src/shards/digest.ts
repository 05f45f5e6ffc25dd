import { scope } from "#scope";

/** The SHA-256 of bytes in lower hexadecimal digits. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await scope.bytes.sha256(bytes);
  let text = "";
  for (const byte of digest) text += byte.toString(16).padStart(2, "0");
  return text;
}
