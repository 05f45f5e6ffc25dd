import { scope } from "#scope";
import { MlrError } from "../shared/errors";

/** The kernel's exports; `runtime_py/kernel/open.c` describes them. */
export interface KernelExports {
  mlr_abi(): number;
  mlr_staging(): number;
  mlr_staging_size(): number;
  mlr_open(
    descriptorBytes: number,
    contextLength: number,
    threads: number,
    sequences: number,
    flags: number,
  ): number;
  mlr_bytes(kind: number): number;
  mlr_feed(offset: number, bytes: number): number;
  mlr_ready(): number;
  mlr_worker(thread: number): number;
  mlr_abort(): void;
  mlr_close(): void;
}

/** A compiled build of the kernel. `relaxed64` takes a memory with 64-bit addresses. */
export interface KernelModule {
  build: "relaxed" | "simd" | "relaxed64";
  module: WebAssembly.Module;
}

/** The builds that a host can run. */
export interface KernelBuilds {
  /** The fastest one. */
  readonly usual: Promise<KernelModule>;
  /** The one for more memory than 32 bits address; null where there are no such memories. */
  readonly wide: (() => Promise<KernelModule>) | null;
}

// A module with a shared memory, and a function with a relaxed instruction:
// (memory 0 0 shared) (func (drop (i8x16.relaxed_swizzle (v128.const 0…) (v128.const 0…))))
const V128 = [0xfd, 0x0c, ...new Array<number>(16).fill(0)];
const BODY = [0x00, ...V128, ...V128, 0xfd, 0x80, 0x02, 0x1a, 0x0b];
// prettier-ignore
const probe = (memory: 0x03 | 0x07) => Uint8Array.of(
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // types
  0x03, 0x02, 0x01, 0x00, // functions
  0x05, 0x04, 0x01, memory, 0x00, 0x00, // memories: shared, with a maximum; 0x04: 64-bit addresses
  0x0a, BODY.length + 2, 0x01, BODY.length, ...BODY, // code
);

/** Whether a kernel can have more memory here than 32 bits address. */
export const hasMemory64 = WebAssembly.validate(probe(0x07));

/** The files of the builds. */
export type KernelFiles = Record<KernelModule["build"], URL>;

/** The builds in these files; the wide one is fetched when it is asked for. */
export function openBuilds(files: KernelFiles): KernelBuilds {
  const usual = compileUsual(files);
  usual.catch(() => undefined); // whoever plans reports it
  return { usual, wide: hasMemory64 ? () => compileWide(files) : null };
}

async function compileWide(files: KernelFiles): Promise<KernelModule> {
  return { build: "relaxed64", module: await WebAssembly.compile(await wasm(files.relaxed64)) };
}

async function compileUsual(files: KernelFiles): Promise<KernelModule> {
  const build = WebAssembly.validate(probe(0x03)) ? "relaxed" : "simd";
  const bytes = await wasm(files[build]);
  try {
    return { build, module: await WebAssembly.compile(bytes) };
  } catch (error) {
    throw new MlrError(
      "EngineError",
      "there is no WebAssembly SIMD with shared memory here: use a current browser, Node.js 20 or Deno",
      { cause: error },
    );
  }
}

const MAGIC = 0x6d736100; // "\0asm", little-endian

/** Throws `FetchError`, also where a server answers with a page of its own instead of the file. */
async function wasm(url: URL): Promise<ArrayBuffer> {
  const response = await scope.fetch(url.href);
  if (!response.ok) throw new MlrError("FetchError", `${url.href}: the server answered ${response.status}`);
  const data = await response.arrayBuffer();
  if (data.byteLength < 4 || new DataView(data).getUint32(0, true) !== MAGIC) {
    throw new MlrError("FetchError", `${url.href}: what the server sent is not WebAssembly: is the file there?`);
  }
  return data;
}

/** An instance of the kernel on a memory. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  return instance.exports as unknown as KernelExports;
}
