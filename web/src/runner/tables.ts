/** What Python knows, too: made from it by `web/tables.py`. */
import content from "./tables.json";

interface Tables {
  /** Of a bundle's manifest. */
  schema: string;
  schemaVersion: number;
  descriptorVersion: number;
  /** The numbers of a model's configuration, in the descriptor's order. */
  fields: { name: string; choices: string[] | null; default: number | string | boolean | null }[];
  sharedSlots: string[];
  layerSlots: string[];
  /** Ids of the GGUF format. */
  weightTypes: Record<string, number>;
  /** By the kernel's number: an error's class and what is wrong. */
  errors: Record<string, { name: string; sentence: string }>;
  /** Tokens that begin a text, the likeliest first. */
  beginTokens: string[];
  /** Tokens that end a turn, a text or a file: generation stops on them. The likeliest first. */
  endTokens: string[];
  /** Where all `others` exist, `name` does not end a turn. */
  notEnds: { others: string[]; name: string }[];
}

export const TABLES: Tables = content;
