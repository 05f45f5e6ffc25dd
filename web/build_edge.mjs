/** Builds the script of edge workers into `toolchain/mlr_build/edge/`, from where `mlr-build worker` takes it. */
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const WEB = dirname(fileURLToPath(import.meta.url));
const ROOT = join(WEB, "..");
const OUTPUT = join(ROOT, "toolchain", "mlr_build", "edge");
const STAGING = `${OUTPUT}.new`;

await rm(STAGING, { recursive: true, force: true });
await mkdir(STAGING);
await build({
  absWorkingDir: WEB,
  entryPoints: [join(ROOT, "edge", "cloudflare", "worker.ts")],
  outdir: STAGING,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  alias: {
    mlr: "./src/client/workerd.ts",
    "#platform": "./src/platform/workerd.ts",
    "#scope": "./src/scope/workerd.ts",
  },
  external: ["./kernel-relaxed.wasm"],
  logLevel: "warning",
});
await rm(OUTPUT, { recursive: true, force: true });
await rename(STAGING, OUTPUT);
console.log(`The script of edge workers is in ${relative(process.cwd(), OUTPUT) || OUTPUT}`);
