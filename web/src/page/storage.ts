/** The footer: how much is stored in this browser, and the button that empties it. */
import * as cache from "../api/cache";
import { announce, button, element, setError } from "./dom";
import * as format from "./format";

/** Show how much is stored now. */
export async function showStored(): Promise<void> {
  const size = await cache.size();
  element("stored").textContent = format.bytes(size);
  button("clear").disabled = size === 0;
}

/** `emptied` is called once nothing is stored any more. */
export function connectStorage(emptied: () => void): void {
  const clear = button("clear");
  clear.addEventListener("click", () => {
    clear.disabled = true;
    cache
      .clear()
      .then(() => {
        announce("The browser's storage for mlr is empty.");
        emptied();
      }, setError)
      .finally(() => void showStored());
  });
}
