type Kind<T extends Element> = new () => T;

/** The element of this id, which the page's HTML has. */
export function element<T extends Element = HTMLElement>(
  id: string,
  kind: Kind<T> = HTMLElement as unknown as Kind<T>,
): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

export const button = (id: string) => element(id, HTMLButtonElement);
export const input = (id: string) => element(id, HTMLInputElement);

/** What the page is doing; styles follow it. */
export type State = "empty" | "loading" | "ready" | "generating" | "error";

/** Show the state, with a few words on it in the header. */
export function setState(state: State, words: string): void {
  document.body.dataset.state = state;
  element("where").textContent = words;
}

/** Say something to those who hear the page instead of seeing it. */
export function announce(words: string): void {
  element("status").textContent = words;
}

/** Show sentences that the user should know, each once. */
export function setNotices(sentences: string[]): void {
  const place = element("notices");
  place.replaceChildren(
    ...[...new Set(sentences)].map((sentence) => {
      const line = document.createElement("p");
      line.textContent = sentence;
      return line;
    }),
  );
}

/** Show an error, or hide it. */
export function setError(error: { name: string; message: string } | null): void {
  element("error").hidden = error === null;
  element("error-name").textContent = error === null ? "" : heading(error.name);
  element("error-message").textContent = sentence(error?.message ?? "");
}

function sentence(message: string): string {
  const isAddress = /^\w+:\/\//.test(message);
  return isAddress ? message : message.charAt(0).toUpperCase() + message.slice(1);
}

const HEADINGS: Record<string, string> = {
  CapacityError: "The model does not fit into memory",
  ContextLengthError: "The prompt is too long",
  EngineError: "The engine stopped",
  FetchError: "The download failed",
  IntegrityError: "The download is damaged",
  ManifestError: "The bundle's manifest is not right",
  RequestError: "That cannot be asked for",
  StorageError: "The browser's storage",
  UnsupportedModelError: "This model is not supported",
};

function heading(name: string): string {
  return HEADINGS[name] ?? "Something went wrong";
}
