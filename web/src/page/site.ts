/**
 * Loaded by a static site before the page: starts the service worker, and loads the page once more
 * where that gives it threads. See `service_worker.ts`.
 */
const RELOADED = "mlr-site-reloaded";

/** The page has no headers of isolation yet and the worker would add them: ask for it again, once. */
function reloadOnce(): void {
  if (crossOriginIsolated || sessionStorage.getItem(RELOADED)) return;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
}

if ("serviceWorker" in navigator) {
  if (crossOriginIsolated) sessionStorage.removeItem(RELOADED);
  navigator.serviceWorker.addEventListener("controllerchange", reloadOnce);
  navigator.serviceWorker.register("service-worker.js").then(
    () => {
      if (navigator.serviceWorker.controller) reloadOnce();
    },
    (error: unknown) => {
      console.warn("This site will not work offline: its service worker was not started.", error);
    },
  );
}
export {}; // a module to the compiler, though browsers run it as a script
