import type { Helper } from "./helpers";

export interface ThreadRequest {
  type: "compute";
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  index: number;
}

export interface ThreadReply {
  type: "ready";
}

/** Have a worker serve as a kernel thread on memory that has been laid out; resolves when it waits. */
export function startThread({ port, failure }: Helper, request: Omit<ThreadRequest, "type">): Promise<void> {
  const ready = new Promise<void>((resolve) => {
    port.onMessage(() => {
      resolve();
    });
  });
  port.post({ type: "compute", ...request } satisfies ThreadRequest);
  return Promise.race([ready, failure]);
}
