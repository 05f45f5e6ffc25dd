/** The progress bar of loading. */
import type { LoadProgress } from "../shared/protocol";
import { element } from "./dom";
import * as format from "./format";

const FRESH_MS = 300; // the speed is worth showing from here on

const bar = element("load-bar", HTMLProgressElement);
const text = element("load-text");

/** Shows the progress of one load. */
export class LoadBar {
  #started: number | undefined;
  #atStart = 0;

  constructor() {
    element("loading").hidden = false;
    bar.removeAttribute("value");
    text.textContent = "Starting Python";
  }

  show(progress: LoadProgress): void {
    if (progress.stage === "start") {
      text.textContent = progress.done ? "Reading the tokenizer" : "Starting Python";
      return;
    }
    if (progress.stage === "load") {
      if (progress.done < progress.total) return; // follows the download closely
      text.textContent = "Starting the engine";
      return;
    }
    const now = performance.now();
    this.#started ??= now;
    this.#atStart ||= progress.done;
    bar.value = progress.done / progress.total;
    const elapsed = now - this.#started;
    const rate = (progress.done - this.#atStart) / (elapsed / 1000);
    const speed = elapsed > FRESH_MS ? `, ${format.bytes(rate)}/s` : "";
    text.textContent = `${format.bytes(progress.done)} of ${format.bytes(progress.total)}${speed}`;
  }

  end(): void {
    element("loading").hidden = true;
  }
}
