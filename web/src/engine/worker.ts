/** The engine's worker: Python with one model in it. */
import { MlrError, messageOf } from "../shared/errors";
import type { LoadProgress, Reply, Request, Token } from "../shared/protocol";
import { PythonHost } from "./host";
import { startPython } from "./python";

declare const self: DedicatedWorkerGlobalScope;

/** `mlr.session.Session` as seen from here; texts are JSON. */
interface Session {
  load(url: string, options: string, onProgress: (stage: string, done: number, total: number) => void): Promise<string>;
  generate(
    id: number,
    prompt: string,
    options: string,
    onToken: ((id: number, text: string, logprobs: string | undefined) => void) | undefined,
  ): Promise<string>;
  stop(id: number): void;
  tokenize(text: string, addSpecial: boolean): string;
  close(): Promise<void>;
}

/** How a session's answer begins: `mlr.session` turns exceptions into data. */
type Answer = { value: unknown } | { error: { name: string; message: string } };

const MAX_DEFAULT_THREADS = 8; // as in `mlr.hosts.pyodide`

const NO_LOGPROBS: Omit<Token, "id" | "text"> = { logprob: null, topLogprobs: [] };

let session: Session | undefined;

const reply = (message: Reply) => {
  self.postMessage(message);
};
const report = (stage: string, done: number, total: number) => {
  reply({ type: "progress", progress: { stage: stage as LoadProgress["stage"], done, total } });
};

self.onmessage = (event: MessageEvent<Request>) => {
  const request = event.data;
  if (request.type === "stop") {
    session?.stop(request.id);
    return;
  }
  handle(request).then(
    (value) => {
      reply({ type: "done", id: request.id, value });
    },
    (error: unknown) => {
      const name = error instanceof MlrError ? error.name : "EngineError";
      reply({ type: "failed", id: request.id, name, message: messageOf(error) });
    },
  );
};

async function handle(request: Exclude<Request, { type: "stop" }>): Promise<unknown> {
  if (request.type === "load") return load(request);
  if (!session) throw new MlrError("EngineError", "no model is loaded");
  switch (request.type) {
    case "generate": {
      const onToken = (id: number, text: string, logprobs: string | undefined) => {
        const likely = logprobs ? (JSON.parse(logprobs) as Omit<Token, "id" | "text">) : NO_LOGPROBS;
        reply({ type: "token", id: request.id, token: { id, text, ...likely } });
      };
      return unwrap(
        await session.generate(
          request.id,
          JSON.stringify(request.prompt),
          pythonOptions(request.options),
          request.tokens ? onToken : undefined, // Python sees None
        ),
      );
    }
    case "tokenize":
      return unwrap(session.tokenize(request.text, request.addSpecial));
    case "close":
      return session.close();
    case "bytes":
    case "detokenize":
    case "embed":
    case "logits":
      throw new MlrError("RequestError", `${request.type} is not there when Python runs the model`);
  }
}

async function load(request: Extract<Request, { type: "load" }>): Promise<unknown> {
  const base = new URL(".", import.meta.url);
  const threads = likelyThreads(request.options.threads);
  const host = new PythonHost(base, threads);
  host.prepare(request.url, threads, request.options);
  report("start", 0, 1);
  const { pyodide, fromSnapshot } = await Promise.race([startPython(base), strayFailure()]);
  report("start", 1, 1);
  pyodide.registerJsModule("mlr_host", host);
  const create = pyodide.pyimport("mlr.session.Session") as () => Session;
  session = create();
  const info = unwrap(
    await session.load(request.url, pythonOptions(request.options), report),
  ) as { notices: string[] };
  return { ...info, isolated: host.isolated, fromSnapshot, notices: [...info.notices, ...host.notices] };
}

/** Rejects when something fails that nobody waits for, as Pyodide's own downloads do. */
function strayFailure(): Promise<never> {
  return new Promise((_, reject) => {
    self.addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      reject(new MlrError("EngineError", `Python did not start: ${messageOf(event.reason)}; try again`));
    });
  });
}

/** How many threads Python is going to ask for, as far as can be told before. */
function likelyThreads(asked: number | undefined): number {
  return Math.max(1, Math.min(asked ?? navigator.hardwareConcurrency, MAX_DEFAULT_THREADS));
}

function unwrap(answer: string): unknown {
  const parsed = JSON.parse(answer) as Answer;
  if ("error" in parsed) throw new MlrError(parsed.error.name, parsed.error.message);
  return parsed.value;
}

/** Options as JSON: `maxTokens` as `max_tokens`, and seeds with all their digits, which Python reads as they are. */
function pythonOptions(options: object): string {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const fields = given.map(([name, value]: [string, unknown]) => {
    const python = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return `${JSON.stringify(python)}:${typeof value === "bigint" ? value : JSON.stringify(value)}`;
  });
  return `{${fields.join(",")}}`;
}
