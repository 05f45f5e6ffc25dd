/**
 * The binary descriptor through which the kernel learns what a model is: byte for byte what
 * `mlr.engines.kernel.descriptor` makes of the same manifest.
 */
import { MlrError } from "../shared/errors";
import { TABLES } from "./tables";

const MAGIC = new TextEncoder().encode("MLRD");
const HEADER_BYTES = 16;
const FIELD_BYTES = 8;
const ENTRY_BYTES = 32;

/** A tensor of a variant: its shape is [rows, columns], [experts, rows, columns], or [length]. */
export interface TensorEntry {
  name: string;
  type: string;
  shape: number[];
  offset: number;
  size: number;
}

/** Throws `ManifestError`, and `UnsupportedModelError` for what the kernel does not know. */
export function buildDescriptor(config: Record<string, unknown>, tensors: TensorEntry[]): Uint8Array<ArrayBuffer> {
  const { fields, descriptorVersion } = TABLES;
  const bytes = new Uint8Array(HEADER_BYTES + FIELD_BYTES * fields.length + ENTRY_BYTES * tensors.length);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(4, descriptorVersion, true);
  view.setUint32(8, fields.length, true);
  view.setUint32(12, tensors.length, true);
  let at = HEADER_BYTES;
  for (const field of fields) {
    view.setFloat64(at, fieldValue(config, field), true);
    at += FIELD_BYTES;
  }
  for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset)) {
    for (const [i, value] of entryOf(tensor).entries()) view.setUint32(at + 4 * i, value, true);
    view.setFloat64(at + 24, tensor.offset, true);
    at += ENTRY_BYTES;
  }
  return bytes;
}

/** A hyperparameter as a number: choices by their index, yes and no as 1 and 0. */
function fieldValue(config: Record<string, unknown>, { name, choices, default: usual }: (typeof TABLES.fields)[0]) {
  const value = config[name] ?? usual;
  const number = choices ? choices.indexOf(value as string) : typeof value === "boolean" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number) || (choices && number < 0)) {
    throw new MlrError("ManifestError", `config.${name}: ${JSON.stringify(value)} is not a value that it can have`);
  }
  return number;
}

/** Slot, layer, type, rows, columns and depth. */
function entryOf({ name, type, shape }: TensorEntry): number[] {
  const id = TABLES.weightTypes[type];
  if (id === undefined) {
    throw new MlrError("UnsupportedModelError", `tensor ${name}: the kernel does not compute with ${type}`);
  }
  const [depth = 1, rows = 1, columns = 1] = [1, 1, ...shape].slice(-3);
  return [...slotOf(name), id, rows, columns, depth];
}

/** Slot number and layer of a tensor, by its GGUF name. */
function slotOf(name: string): [number, number] {
  const shared = TABLES.sharedSlots.indexOf(name);
  if (shared >= 0) return [shared, 0];
  const [, layer, kind] = /^blk\.(\d{1,4})\.(.+)$/.exec(name) ?? [];
  const slot = TABLES.layerSlots.indexOf(kind ?? "");
  if (layer === undefined || slot < 0) {
    throw new MlrError("UnsupportedModelError", `tensor ${name} is not one that the kernel computes with`);
  }
  return [TABLES.sharedSlots.length + slot, Number(layer)];
}
