/** The inside of a web worker. */
declare const self: DedicatedWorkerGlobalScope;

export function post(message: unknown): void {
  self.postMessage(message);
}

export function onMessage(listener: (message: unknown) => void): void {
  self.onmessage = (event: MessageEvent<unknown>) => {
    listener(event.data);
  };
}
