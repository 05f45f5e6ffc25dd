/** Memory for a model, where the kernel has laid out what goes where. */
import { MlrError, messageOf } from "../shared/errors";
import { check } from "./feeder";
import { instantiate, type KernelBuilds, type KernelExports, type KernelModule } from "./module";

const PAGE = 65536;
const PLANNER_BYTES = 64 * PAGE; // enough for any descriptor and the tables made of it
const ABI_VERSION = 3;

/** Bytes that a memory with addresses of 32 bits can have, and of 64 as the kernel is linked. */
export const MAX_MEMORY = 65535 * PAGE;
export const MAX_MEMORY_64 = 262144 * PAGE;

/** What a model is laid out for: `contextLength` tokens of each sequence; flags of `mlr_open`. */
export interface KernelOptions {
  contextLength: number;
  threads: number;
  sequences: number;
  flags: number;
}

/** A model as the kernel lays it out. */
export interface Layout {
  descriptor: Uint8Array;
  options: KernelOptions;
}

/** A layout, and the bytes of memory that it takes. */
export interface PlannedLayout extends Layout {
  total: number;
}

/** An instance of the kernel and the memory that it is on. */
export interface Instance {
  memory: WebAssembly.Memory;
  exports: KernelExports;
}

/**
 * Bytes that a model takes: total, weights, KV cache, the rest. What 32 bits do not address is laid
 * out for the build that addresses 64, where it runs, as `buildFor` then takes that.
 */
export async function plan(builds: KernelBuilds, layout: Layout): Promise<number[]> {
  const usual = await builds.usual;
  const sizes = measure(usual, layout);
  const module = await buildFor(sizes[0] ?? 0, builds);
  return module === usual ? sizes : measure(module, layout);
}

function measure(module: KernelModule, layout: Layout): number[] {
  const { exports } = layOut(module, { ...layout, total: PLANNER_BYTES });
  return [0, 1, 2, 3].map((kind) => exports.mlr_bytes(kind));
}

/** The build for a model that takes `total` bytes. */
export function buildFor(total: number, builds: KernelBuilds): Promise<KernelModule> {
  return total > MAX_MEMORY && builds.wide ? builds.wide() : builds.usual;
}

/** An instance on new memory that is laid out for a model. */
export function layOut(module: KernelModule, { descriptor, options, total }: PlannedLayout): Instance {
  const memory = reserve(Math.ceil(total / PAGE), module.build === "relaxed64");
  const exports = instantiate(module.module, memory);
  if (exports.mlr_abi() !== ABI_VERSION) {
    throw new MlrError("LoadError", "the kernel and its host are of different versions: build both anew");
  }
  if (descriptor.length > exports.mlr_staging_size()) {
    throw new MlrError("LoadError", `the model has too many tensors (${descriptor.length} bytes of them)`);
  }
  new Uint8Array(memory.buffer).set(descriptor, exports.mlr_staging());
  const { contextLength, threads, sequences, flags } = options;
  check(
    exports.mlr_open(descriptor.length, contextLength, threads, sequences, flags),
    `mlr_open(${contextLength}, ${threads}, ${sequences}, ${flags})`,
  );
  return { memory, exports };
}

function reserve(pages: number, wide: boolean): WebAssembly.Memory {
  const [initial, maximum] = [pages, pages];
  const descriptor = wide
    ? { initial: BigInt(initial), maximum: BigInt(maximum), shared: true, address: "i64" }
    : { initial, maximum, shared: true };
  try {
    return new WebAssembly.Memory(descriptor as WebAssembly.MemoryDescriptor); // its type knows no BigInt
  } catch (error) {
    throw new MlrError(
      "CapacityError",
      `the host refused ${((pages * PAGE) / 1e6).toFixed(0)} MB of memory for the model ` +
        `(${messageOf(error)}): free some, or load with a smaller contextLength or quantization`,
      { cause: error },
    );
  }
}
