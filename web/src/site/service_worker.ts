/**
 * The service worker of a static site: it keeps the site's files, so that a second visit needs no
 * network, and adds the headers that isolate the page from other origins, which shared memory and
 * so threads need, for file hosts that cannot be told to send them.
 *
 * `mlr-build site` writes a line above this file that sets `SITE`. Another version of the site is
 * another text, so the browser installs it beside the old one and changes over when no page of the
 * old one is open. Weights are not kept here: the page stores them, verified, by itself.
 */
declare const self: ServiceWorkerGlobalScope;
/** The site's version, and its files but the weights, relative to this worker's folder. */
declare const SITE: { version: string; files: string[] };

const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const PREFIX = `mlr-site ${self.registration.scope} `;
const CACHE = PREFIX + SITE.version;
const kept = new Set(SITE.files.map((file) => new URL(file, self.registration.scope).href));

self.addEventListener("install", (event) => {
  event.waitUntil(install());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOldVersions().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === "GET" && url.origin === self.location.origin) {
    event.respondWith(answer(event.request, url).then(isolated));
  }
});

/** All files or none: a version with a file missing is not installed. */
async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll([...kept].map((url) => new Request(url, { cache: "no-cache" })));
}

async function removeOldVersions(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
}

async function answer(request: Request, url: URL): Promise<Response> {
  url.search = url.hash = "";
  if (url.href === self.registration.scope) url.href = new URL("index.html", url).href;
  if (!kept.has(url.href)) return fetch(request);
  const cache = await caches.open(CACHE);
  return (await cache.match(url.href)) ?? fetch(request); // a browser may have emptied the cache
}

function isolated(response: Response): Response {
  if (response.status === 0) return response; // an error or a redirect, which the browser handles
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  const { status, statusText } = response;
  const empty = status === 204 || status === 205 || status === 304;
  return new Response(empty ? null : response.body, { status, statusText, headers });
}
export {}; // a module to the compiler, though browsers run it as a script
