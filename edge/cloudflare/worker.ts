/** The worker that `mlr-build worker` writes into a project: a bundle behind OpenAI's interface. */
import { load, type Model } from "mlr";
import kernel from "./kernel-relaxed.wasm";
import { createHandler, type Handler } from "../handler";

/** The part of an R2 bucket that is used here. */
interface Bucket {
  get(
    key: string,
    options: { range?: { offset: number } },
  ): Promise<{ body: ReadableStream<Uint8Array<ArrayBuffer>>; size: number } | null>;
}

interface Environment {
  ASSETS: { fetch: (url: string, init?: RequestInit) => Promise<Response> };
  /** Where shards come from; without it they are assets. */
  WEIGHTS?: Bucket;
  MODEL: string;
  CONTEXT_LENGTH: number;
  API_TOKEN?: string;
  CORS_ORIGIN?: string;
}

interface ExecutionContext {
  waitUntil(work: Promise<unknown>): void;
}

const BUNDLE = "https://bundle/"; // a name for what the bindings hold

let handler: Handler | undefined;

export default {
  fetch(request: Request, env: Environment, context: ExecutionContext): Promise<Response> {
    handler ??= createHandler({
      id: env.MODEL,
      load: () => loadModel(env),
      token: env.API_TOKEN,
      cors: env.CORS_ORIGIN,
    });
    return handler(request, { waitUntil: context.waitUntil.bind(context) });
  },
};

function loadModel(env: Environment): Promise<Model> {
  const bucket = env.WEIGHTS;
  return load(BUNDLE, {
    module: kernel,
    contextLength: env.CONTEXT_LENGTH,
    fetch: (url, init) => {
      const key = new URL(url).pathname.slice(1);
      return bucket && key.startsWith("shards/") ? fromBucket(bucket, key, init) : env.ASSETS.fetch(url, init);
    },
  });
}

/** An object as a server would send it that knows ranges up to the end of a file. */
async function fromBucket(bucket: Bucket, key: string, init: RequestInit | undefined): Promise<Response> {
  const range = /^bytes=(\d+)-/.exec(new Headers(init?.headers).get("Range") ?? "");
  const offset = Number(range?.[1] ?? 0);
  const object = await bucket.get(key, range ? { range: { offset } } : {});
  if (!object) return new Response(null, { status: 404, statusText: `${key} is not in the bucket` });
  return new Response(object.body, {
    status: range ? 206 : 200,
    headers: range ? { "Content-Range": `bytes ${offset}-${object.size - 1}/${object.size}` } : {},
  });
}
