/** The playground: choose a bundle, load it, generate. */
import { load, MlrError, type Model } from "../api/index";
import { messageOf } from "../shared/errors";
import { type Bundle, describe, fetchBundles, lockChoice, showBundles } from "./bundles";
import { announce, button, element, setError, setNotices, setState } from "./dom";
import * as format from "./format";
import * as generation from "./generation";
import { LoadBar } from "./loading";
import { connectStorage, showStored } from "./storage";

const NOT_ISOLATED =
  "This page is not cross-origin isolated, so the model runs on one thread. Serve the page with " +
  "the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: " +
  "require-corp to use all cores.";

let bundle: Bundle | undefined;
let model: Model | undefined;
let loading: AbortController | undefined;

function fail(error: unknown): void {
  setState("error", "No model loaded");
  setError({ name: error instanceof MlrError ? error.name : "Error", message: messageOf(error) });
}

async function choose(chosen: Bundle): Promise<void> {
  bundle = chosen;
  await unload();
  setError(null);
  setState("empty", "No model loaded");
  button("load").disabled = chosen.task !== "generate";
  generation.showTask(chosen.task);
  await describe(chosen);
}

async function unload(): Promise<void> {
  const old = model;
  model = undefined;
  generation.showEngine(null);
  button("load").hidden = false;
  await old?.close();
}

async function loadModel(): Promise<void> {
  if (!bundle || loading) return;
  loading = new AbortController();
  const { signal } = loading;
  const bar = new LoadBar();
  setError(null);
  setState("loading", "Loading");
  announce(`Loading ${bundle.name}.`);
  lockChoice(true);
  button("load").hidden = true;
  button("cancel").hidden = false;
  button("cancel").focus({ preventScroll: true });
  try {
    model = await load(bundle.url, {
      signal,
      onProgress: (progress) => {
        bar.show(progress);
      },
    });
    const { info } = model;
    setNotices(info.notices);
    generation.showEngine(model);
    setState("ready", "Ready");
    announce(`${info.name} is ready, on ${format.plural(info.threads, "thread")}.`);
    element("prompt").focus({ preventScroll: true });
  } catch (error) {
    button("load").hidden = false;
    if (signal.aborted) setState("empty", "No model loaded");
    else fail(error);
  } finally {
    loading = undefined;
    bar.end();
    lockChoice(false);
    button("cancel").hidden = true;
    await Promise.all([describe(bundle), showStored()]);
  }
}

async function generate(): Promise<void> {
  if (!model) return;
  setError(null);
  setState("generating", "Generating");
  generation.showRunning(true);
  lockChoice(true);
  try {
    await generation.generate(model);
    setState("ready", "Ready");
  } catch (error) {
    fail(error);
    // after an engine's failure only loading again helps; other errors leave the model as it was
    if (error instanceof MlrError && error.name === "EngineError") await unload();
    else setState("ready", "Ready");
  } finally {
    generation.showRunning(false);
    lockChoice(false);
  }
}

function connect(): void {
  button("load").addEventListener("click", () => void loadModel());
  button("cancel").addEventListener("click", () => {
    loading?.abort();
  });
  button("stop").addEventListener("click", generation.stop);
  button("error-dismiss").addEventListener("click", () => {
    setError(null);
  });
  element("form").addEventListener("submit", (event) => {
    event.preventDefault();
    void generate();
  });
  element("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!button("generate").disabled && !button("generate").hidden) button("generate").click();
    }
  });
  generation.connectControls();
  connectStorage(() => {
    if (bundle) void describe(bundle);
  });
}

async function start(): Promise<void> {
  connect();
  if (!crossOriginIsolated) setNotices([NOT_ISOLATED]);
  void showStored();
  try {
    const bundles = await fetchBundles();
    showBundles(bundles, (chosen) => void choose(chosen));
    const first = bundles[0];
    if (!first) throw new MlrError("FetchError", "This server offers no models: start it with `mlr serve BUNDLE`.");
    await choose(first);
  } catch (error) {
    fail(error);
  }
}

void start();
