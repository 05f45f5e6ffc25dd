/** The bundles that the server of this page offers, and the panel that shows the chosen one. */
import * as cache from "../api/cache";
import { MlrError, messageOf } from "../shared/errors";
import type { License } from "../shared/protocol";
import { element } from "./dom";
import * as format from "./format";

export interface Bundle {
  name: string;
  url: string;
  /** What the model is for; the playground is for the first. */
  task: "generate" | "embed" | "rank";
  size: number;
  architecture: string;
  quantization: string;
  license: License;
}

const choice = element("bundle", HTMLSelectElement);

/** Ask the server which bundles it has. Rejects with `FetchError`. */
export async function fetchBundles(): Promise<Bundle[]> {
  try {
    const response = await fetch("bundles.json", { cache: "no-cache" });
    if (!response.ok) throw new Error(`it answered ${response.status}`);
    return (await response.json()) as Bundle[];
  } catch (error) {
    throw new MlrError("FetchError", `The list of models could not be had from the server: ${messageOf(error)}`);
  }
}

/** Fill the choice of bundles; `chosen` hears of a change. */
export function showBundles(bundles: Bundle[], chosen: (bundle: Bundle) => void): void {
  choice.replaceChildren(...bundles.map((bundle, index) => new Option(bundle.name, String(index))));
  choice.disabled = bundles.length === 0;
  choice.addEventListener("change", () => {
    const bundle = bundles[choice.selectedIndex];
    if (bundle) chosen(bundle);
  });
}

/** While a model is loaded or loading, whether another can be chosen. */
export function lockChoice(locked: boolean): void {
  choice.disabled = locked;
}

/** Show what is known of a bundle before it is loaded. */
export async function describe(bundle: Bundle): Promise<void> {
  const stored = (await cache.list()).find((entry) => entry.location === new URL(bundle.url, location.href).href);
  const facts = [bundle.architecture, bundle.quantization, format.bytes(bundle.size)];
  if (stored?.complete) facts.push("stored");
  else if (stored && stored.size > 0) facts.push(`${format.bytes(stored.size)} of it stored`);
  element("bundle-facts").textContent = facts.join(" · ");

  element("license").hidden = false;
  element("license-id").textContent = bundle.license.id;
  element("license-notice").textContent = bundle.license.notice;
  const link = element("license-url", HTMLAnchorElement);
  link.hidden = bundle.license.url === null;
  if (bundle.license.url !== null) link.href = bundle.license.url;
}
