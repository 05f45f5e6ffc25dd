/** The bytes of single tokens: as `token_bytes` of Python's tokenizers gives them. */
import { ByteFallbackDecoder, ByteLevelDecoder, type Decoder, SequenceDecoder } from "@huggingface/tokenizers";

const BYTE = /^<0x([0-9A-F]{2})>$/;
const encoder = new TextEncoder();

/**
 * What a token, as the vocabulary spells it, adds to a text that goes on. With characters outside
 * of GPT-2's alphabet it is its own UTF-8: of a `packed` tokenizer, only these characters are.
 */
export function bytesOf(token: string, decoder: Decoder | null, packed: boolean): Uint8Array {
  const steps = decoder instanceof SequenceDecoder ? decoder.decoders : [decoder];
  const [first] = steps;
  const byte = BYTE.exec(token)?.[1];
  if (byte && steps.some((step) => step instanceof ByteFallbackDecoder)) return Uint8Array.of(parseInt(byte, 16));
  if (first instanceof ByteLevelDecoder) {
    const parts = packed ? Array.from(token) : [token];
    return Uint8Array.from(parts.flatMap((part) => byteLevel(part, first.byte_decoder)));
  }
  if (!decoder) return encoder.encode(` ${token}`); // tokens are words
  // a token in front keeps the rules for the beginning of a text from applying to this one
  const text = decoder.decode_chain(["x", token]).join("");
  return encoder.encode(text.replace(/^x/, ""));
}

function byteLevel(text: string, alphabet: Record<string, number>): number[] {
  const characters = Array.from(text);
  if (!characters.every((character) => Object.hasOwn(alphabet, character))) return Array.from(encoder.encode(text));
  return characters.map((character) => Number(alphabet[character]));
}
