/** Server-sent events as OpenAI's clients expect them: `data: JSON`, and `data: [DONE]` last. */
import { asApiError } from "./errors";
import type { Context } from "./handler";

/** What a stream sends, and the signal of the generation behind it. */
export interface Events {
  first: IteratorResult<object, void>;
  rest: AsyncGenerator<object, void, undefined>;
  /** Is aborted when the client leaves. */
  leaving: AbortController;
}

const HEADERS = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-cache",
  "X-Accel-Buffering": "no", // a proxy must pass each event on at once
};
const encoder = new TextEncoder();

/**
 * The response that sends events, one each time that the client has taken the one before. A client
 * that leaves ends the generation; the host is kept until the engine is free again, since in an
 * edge worker nothing else would be left to end it. `onEnd` is called once, with what went wrong.
 */
export function respondWith(
  events: Events,
  context: Context,
  onEnd: (error: unknown) => void,
): Response {
  let failure: unknown;
  const parts = bytesOf(events, (error) => {
    failure = error;
  });
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  context.waitUntil?.(finished);
  void finished.then(() => {
    onEnd(failure);
  });
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        const { done, value } = await parts.next();
        if (!done) {
          controller.enqueue(value);
          return;
        }
        controller.close();
        finish();
      },
      async cancel() {
        events.leaving.abort();
        // the engine has stopped when there are no more parts
        while (!(await parts.next()).done);
        finish();
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: HEADERS });
}

async function* bytesOf(
  { first, rest, leaving }: Events,
  onFailure: (error: unknown) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  try {
    for (let event = first; !event.done; event = await rest.next()) yield data(event.value);
  } catch (error) {
    if (leaving.signal.aborted) return;
    onFailure(error);
    yield data(asApiError(error).body()); // the status has long been sent
    return;
  }
  yield encoder.encode("data: [DONE]\n\n");
}

/** One event. JSON has no line breaks of its own, so one `data:` line holds it. */
function data(event: object): Uint8Array<ArrayBuffer> {
  return encoder.encode(`data: ${JSON.stringify(event)}\n\n`);
}
