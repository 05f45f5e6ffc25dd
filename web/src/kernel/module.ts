import { platform } from "#platform";
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

/** A compiled build of the kernel. */
export interface KernelModule {
  build: "relaxed" | "simd";
  module: WebAssembly.Module;
}

/** The fastest build that this host can run, from the directory `base`. */
export async function compileKernel(base: URL): Promise<KernelModule> {
  const relaxed = await wasm(base, "relaxed");
  if (WebAssembly.validate(relaxed)) {
    return { build: "relaxed", module: await WebAssembly.compile(relaxed) };
  }
  const simd = await wasm(base, "simd");
  if (WebAssembly.validate(simd)) return { build: "simd", module: await WebAssembly.compile(simd) };
  throw new MlrError(
    "EngineError",
    "there is no WebAssembly SIMD with shared memory here: use a current browser, Node.js 20 or Deno",
  );
}

async function wasm(base: URL, build: string): Promise<ArrayBuffer> {
  const url = new URL(`kernel-${build}.wasm`, base);
  const response = await platform.fetch(url.href);
  if (!response.ok) throw new MlrError("FetchError", `${url.href}: the server answered ${response.status}`);
  return response.arrayBuffer();
}

/** An instance of the kernel on a memory. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  return instance.exports as unknown as KernelExports;
}
