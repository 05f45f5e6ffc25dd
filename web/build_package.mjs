/** Builds the npm package `mlr` into `dist/`: JavaScript for every host, types, and the kernel. */
import { execFile } from "node:child_process";
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";

const WEB = dirname(fileURLToPath(import.meta.url));
const ROOT = join(WEB, "..");
const KERNEL = join(ROOT, "runtime_py", "mlr", "engines", "kernel");
const KERNELS = ["kernel-relaxed.wasm", "kernel-simd.wasm", "kernel-relaxed64.wasm"];
const OUTPUT = join(WEB, "dist");
const STAGING = `${OUTPUT}.new`;

const WORKERS = { worker: "src/runner/worker.ts", thread: "src/kernel/thread.ts" };
const API = { mlr: "src/client/index.ts", testing: "src/client/testing.ts", ...WORKERS };
const HOSTS = {
  browser: API,
  deno: API,
  node: API,
  workerd: { mlr: "src/client/workerd.ts", testing: "src/client/workerd_testing.ts" },
};
/** What hosts have in the place of the global `Worker`. */
const WORKER_CLASSES = { deno: ["./src/platform/deno_worker.ts"], node: ["./src/platform/node_worker.ts"] };

async function buildHost(host) {
  await build({
    absWorkingDir: WEB,
    entryPoints: HOSTS[host],
    outdir: join(STAGING, host),
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: host === "browser",
    legalComments: "none",
    alias: { "#platform": `./src/platform/${host}.ts`, "#scope": `./src/scope/${host}.ts` },
    inject: WORKER_CLASSES[host] ?? [],
    external: ["node:*"],
    logLevel: "warning",
  });
}

/** The handler of `edge/`, which is the same for every host: it takes a model and imports nothing. */
async function buildHandler() {
  await build({
    entryPoints: { handler: join(ROOT, "edge", "handler", "index.ts") },
    outdir: STAGING,
    bundle: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    logLevel: "warning",
  });
}

/** What `import "mlr"` gives, by host; bundlers and browsers take `default`. */
function manifest({ version, license, engines }) {
  return {
    name: "mlr",
    version,
    description: "Language models in WebAssembly: the same tokens in browsers, Node.js, Deno and edge workers.",
    license,
    type: "module",
    engines,
    sideEffects: false,
    // what only tests need stays here
    files: [...Object.keys(HOSTS), "types", "handler.js", ...KERNELS, "!**/testing.js"],
    exports: {
      ".": {
        workerd: { types: "./types/client/workerd.d.ts", default: "./workerd/mlr.js" },
        types: "./types/client/index.d.ts",
        deno: "./deno/mlr.js",
        node: "./node/mlr.js",
        default: "./browser/mlr.js",
      },
      "./handler": { types: "./types/handler/index.d.ts", default: "./handler.js" },
      ...Object.fromEntries(KERNELS.map((name) => [`./${name}`, `./${name}`])),
    },
  };
}

async function copyKernel(name) {
  await cp(join(KERNEL, name), join(STAGING, name)).catch(() => {
    throw new Error(`${join(KERNEL, name)} is missing: run \`python hatch_build.py\` first, or \`make package\``);
  });
}

async function emitTypes(project, folder) {
  await promisify(execFile)(join(WEB, "node_modules", ".bin", "tsc"), ["-p", project, "--outDir", folder]);
}

await rm(STAGING, { recursive: true, force: true });
await mkdir(STAGING);
const project = JSON.parse(await readFile(join(WEB, "package.json"), "utf8"));
await writeFile(join(STAGING, "package.json"), `${JSON.stringify(manifest(project), null, 2)}\n`);
await Promise.all([
  ...Object.keys(HOSTS).map(buildHost),
  buildHandler(),
  ...KERNELS.map(copyKernel),
  cp(join(ROOT, "LICENSE"), join(STAGING, "LICENSE")),
  cp(join(WEB, "README.md"), join(STAGING, "README.md")),
  emitTypes(join(WEB, "tsconfig.types.json"), join(STAGING, "types")),
]);
// the handler's types rest on the package's
await emitTypes(join(ROOT, "edge", "tsconfig.types.json"), join(STAGING, "types", "handler"));
// the extensions that Node's way of resolving asks for
for (const entry of await readdir(join(STAGING, "types"), { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath, entry.name);
  const text = await readFile(path, "utf8");
  await writeFile(path, text.replace(/(from "\.{1,2}\/[^"]+)"/g, '$1.js"'));
}
await rm(OUTPUT, { recursive: true, force: true });
await rename(STAGING, OUTPUT);
