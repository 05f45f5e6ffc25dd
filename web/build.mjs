/** Builds the page into `runtime_py/mlr/server/page/`, from where the wheel and the server take it. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const WEB = dirname(fileURLToPath(import.meta.url));
const PYTHON = join(WEB, "..", "runtime_py", "mlr");
const KERNEL = join(PYTHON, "engines", "kernel");
const OUTPUT = join(PYTHON, "server", "page");
const STAGING = `${OUTPUT}.new`;

const PYODIDE_FILES = ["pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip"];

async function copyKernel() {
  await mkdir(join(STAGING, "kernel"));
  for (const name of ["kernel-relaxed.wasm", "kernel-simd.wasm", "kernel-relaxed64.wasm"]) {
    await cp(join(KERNEL, name), join(STAGING, "kernel", name)).catch(() => {
      throw new Error(`${join(KERNEL, name)} is missing: run \`python hatch_build.py\` first, or \`make page\``);
    });
  }
}

/** Copies Pyodide; returns the head of its lock file, with no packages: mlr needs none. */
async function copyPyodide() {
  const source = join(WEB, "node_modules", "pyodide");
  await mkdir(join(STAGING, "pyodide"));
  for (const name of PYODIDE_FILES) {
    let content = await readFile(join(source, name));
    if (name.endsWith(".mjs")) content = content.toString().replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
    await writeFile(join(STAGING, "pyodide", name), content);
  }
  await writeFile(
    join(STAGING, "pyodide", "NOTICE.txt"),
    "Pyodide, Mozilla Public License 2.0. Source: https://github.com/pyodide/pyodide\n" +
      "It contains CPython, Python Software Foundation License.\n",
  );
  const { info } = JSON.parse(await readFile(join(source, "pyodide-lock.json"), "utf8"));
  return { info, packages: {} };
}

await rm(STAGING, { recursive: true, force: true });
await mkdir(STAGING, { recursive: true });
await copyKernel();
const lock = await copyPyodide();
const sources = join(STAGING, "mlr-python.json");
execFileSync(join(WEB, "..", ".venv", "bin", "python"), [join(WEB, "python_sources.py"), sources], { stdio: "inherit" });
const runtimeId = createHash("sha256").update(JSON.stringify(lock)).update(await readFile(sources)).digest("hex");

await build({
  absWorkingDir: WEB,
  entryPoints: {
    mlr: "src/api/index.ts",
    page: "src/page/main.ts",
    style: "src/page/style.css",
    engine: "src/engine/worker.ts",
    thread: "src/kernel/thread.ts",
    "site/site": "src/page/site.ts",
    "site/service-worker": "src/site/service_worker.ts",
  },
  outdir: STAGING,
  bundle: true,
  format: "esm",
  target: "es2022",
  alias: { "#platform": "./src/platform/browser.ts", "#scope": "./src/scope/browser.ts" },
  minify: true,
  legalComments: "none",
  define: { RUNTIME_ID: JSON.stringify(runtimeId), PYODIDE_LOCK: JSON.stringify(lock) },
  logLevel: "warning",
});
await cp(join(WEB, "index.html"), join(STAGING, "index.html"));
await cp(join(WEB, "icon.svg"), join(STAGING, "icon.svg"));

await rm(OUTPUT, { recursive: true, force: true });
await rename(STAGING, OUTPUT);
console.log(`The page is in ${relative(process.cwd(), OUTPUT) || OUTPUT}`);
