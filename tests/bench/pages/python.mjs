/**
 * A worker with Python as a model's worker starts it, and nothing of a model: no kernel, no threads.
 * The load that starts it fails once Python asks for the manifest.
 */
const { fetch } = self;
self.fetch = (url, init) => (String(url).includes("/kernel/") ? Promise.reject(new Error()) : fetch(url, init));
self.Worker = class extends EventTarget {
  postMessage() {}
  terminate() {}
};

await import("/engine.js");
const url = new URL("/no-bundle/", self.location.href).href;
self.onmessage({ data: { type: "load", id: 0, url, options: {} } });
