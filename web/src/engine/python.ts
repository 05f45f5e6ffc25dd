/** Starts Python (Pyodide) with `mlr` in it, from a memory snapshot where there is one. */
import { discardSnapshot, snapshotName, StoredSnapshot, storeSnapshot } from "./snapshot";

/** Set by the build: a hash of everything that a snapshot depends on, and Pyodide's versions. */
declare const RUNTIME_ID: string;
declare const PYODIDE_LOCK: object;

const SITE_PACKAGES = "/lib/python3.14/site-packages";

/** The part of Pyodide's interface that is used here. */
export interface Pyodide {
  FS: { mkdirTree(path: string): void; writeFile(path: string, text: string): void };
  runPython(code: string): unknown;
  pyimport(name: string): unknown;
  registerJsModule(name: string, module: object): void;
  makeMemorySnapshot(): Uint8Array<ArrayBuffer>;
}

/** Makes the module that Emscripten has compiled; `INITIAL_MEMORY` are bytes. */
type CreateModule = (settings: { INITIAL_MEMORY?: number }) => Promise<{ HEAP8: Int8Array<ArrayBuffer> }>;

interface PyodideOptions {
  indexURL: string;
  lockFileContents: object;
  _makeSnapshot?: boolean;
  _loadSnapshot?: Uint8Array<ArrayBuffer>;
  createPyodideModule?: CreateModule;
}

type LoadPyodide = (options: PyodideOptions) => Promise<Pyodide>;

/** Pyodide's code, and how it is called. */
interface Runtime {
  load: LoadPyodide;
  create: CreateModule;
  options: PyodideOptions;
}

export interface Python {
  pyodide: Pyodide;
  fromSnapshot: boolean;
}

/** `base` is the directory that the page's files are served from. */
export async function startPython(base: URL): Promise<Python> {
  const sources = readSources(base);
  sources.catch(() => undefined); // awaited below, perhaps after another failure
  const name = await snapshotName(RUNTIME_ID);
  const [stored, runtime] = await Promise.all([StoredSnapshot.open(name), getRuntime(new URL("pyodide/", base))]);
  if (stored) {
    try {
      const pyodide = await startFrom(stored, runtime);
      install(pyodide, await sources);
      return { pyodide, fromSnapshot: true };
    } catch {
      await discardSnapshot(name);
    }
  }
  return startAnew(runtime, await sources, name);
}

async function getRuntime(folder: URL): Promise<Runtime> {
  const [{ loadPyodide }, { default: create }] = (await Promise.all([
    import(new URL("pyodide.mjs", folder).href),
    import(new URL("pyodide.asm.mjs", folder).href),
  ])) as [{ loadPyodide: LoadPyodide }, { default: CreateModule }];
  return { load: loadPyodide, create, options: { indexURL: folder.href, lockFileContents: PYODIDE_LOCK } };
}

/**
 * Without a snapshot: start one Python to make it. That Python's view of JavaScript is a recording,
 * so the one to work with starts from the snapshot at once, in a tenth of the time.
 */
async function startAnew(runtime: Runtime, sources: Record<string, string>, name: string): Promise<Python> {
  const { load, options } = runtime;
  try {
    const maker = await load({ ...options, _makeSnapshot: true });
    install(maker, sources);
    const snapshot = maker.makeMemorySnapshot();
    const pyodide = await load({ ...options, _loadSnapshot: snapshot });
    install(pyodide, sources);
    await storeSnapshot(name, snapshot);
    return { pyodide, fromSnapshot: false };
  } catch {
    const pyodide = await load(options);
    install(pyodide, sources);
    return { pyodide, fromSnapshot: false };
  }
}

/** Start from a snapshot. Pyodide only gets to see its header, and finds the memory in place. */
function startFrom(snapshot: StoredSnapshot, { load, create, options }: Runtime): Promise<Pyodide> {
  const createPyodideModule: CreateModule = async (settings) => {
    settings.INITIAL_MEMORY = snapshot.size;
    const module = await create(settings);
    await snapshot.readInto(new Uint8Array(module.HEAP8.buffer));
    return module;
  };
  return load({ ...options, _loadSnapshot: snapshot.header, createPyodideModule });
}

/** Put mlr's files in place (a snapshot holds none) and import what loading a model needs. */
function install(pyodide: Pyodide, sources: Record<string, string>): void {
  for (const [file, text] of Object.entries(sources)) {
    const path = `${SITE_PACKAGES}/${file}`;
    pyodide.FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
    pyodide.FS.writeFile(path, text);
  }
  pyodide.runPython("import importlib; importlib.invalidate_caches(); import mlr.hosts.pyodide, mlr.session");
}

async function readSources(base: URL): Promise<Record<string, string>> {
  const response = await fetch(new URL("mlr-python.json", base), { cache: "no-cache" });
  if (!response.ok) throw new Error(`mlr-python.json: the server answered ${response.status}`);
  return (await response.json()) as Record<string, string>;
}
