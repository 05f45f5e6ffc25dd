/** One model behind OpenAI's interface, as a function from request to response for any host. */
import type { Model } from "mlr";
import { checkToken, preflight, withOrigin } from "./access";
import { readObject } from "./body";
import { chatCompletions } from "./chat";
import { completions } from "./completions";
import { embeddings } from "./embeddings";
import { ApiError, asApiError } from "./errors";
import { invalid } from "./fields";
import { MAX_BODY, MAX_REQUESTS } from "./limits";
import { Loading } from "./loading";
import { type Events, respondWith } from "./stream";

export interface HandlerOptions {
  /** The name that requests give the model. */
  id: string;
  /** Load the model: called with the first request that needs it, and again after a failure. */
  load: () => Promise<Model>;
  /** What requests must carry as `Authorization: Bearer …`; without it anybody may ask. */
  token?: string | undefined;
  /** The origin whose pages may ask, or `*`; without it no page of another origin may. */
  cors?: string | undefined;
  /** Bytes of a request's body: 1 MiB. */
  maxBody?: number;
}

export interface Context {
  /** Keep the host at work on something after the response has ended or the client has left. */
  waitUntil?: (work: Promise<unknown>) => void;
}

/** Answers a request; never rejects. */
export type Handler = (request: Request, context?: Context) => Promise<Response>;

type Endpoint = (asked: Asked, body: Record<string, unknown>) => Promise<Response | Events>;

const ENDPOINTS = new Map<string, Endpoint>([
  ["/v1/completions", completions],
  ["/v1/chat/completions", chatCompletions],
  ["/v1/embeddings", embeddings],
]);

/** A request, and what its endpoint may do. */
export interface Asked {
  readonly request: Request;
  readonly id: string;
  /** Throws `ApiError` 404 unless a request's `model` is this one. */
  checkModel(name: unknown): void;
  model(): Promise<Model>;
}

/** Make the handler of one model. */
export function createHandler(options: HandlerOptions): Handler {
  const { id, token, cors, maxBody = MAX_BODY } = options;
  const entry = { id, object: "model", created: Math.floor(Date.now() / 1000), owned_by: "mlr" };
  const known = new Map<string, object>([
    ["/v1/models", { object: "list", data: [entry] }],
    [`/v1/models/${encodeURIComponent(id)}`, entry],
  ]);
  const loading = new Loading(options.load);
  let requests = 0;

  function checkModel(name: unknown): void {
    if (name === id) return;
    if (typeof name !== "string") throw invalid("model", "must be a string");
    throw new ApiError(404, `there is no model '${name}' here; there is ${id}`, {
      param: "model",
      code: "model_not_found",
    });
  }

  async function ask(endpoint: Endpoint, request: Request, context: Context): Promise<Response> {
    if (requests >= MAX_REQUESTS) {
      throw new ApiError(429, "too many requests wait for the model; try again later", {
        code: "too_many_requests",
        headers: { "Retry-After": "5" },
      });
    }
    let model: Model | undefined;
    const asked: Asked = {
      request,
      id,
      checkModel,
      model: async () => (model = await loading.model(context)),
    };
    const end = (error?: unknown) => {
      requests--;
      if (model) loading.failed(model, error);
    };
    requests++;
    try {
      const answer = await endpoint(asked, await readObject(request, maxBody));
      if (!(answer instanceof Response)) return respondWith(answer, context, end);
      end();
      return answer;
    } catch (error) {
      end(error);
      throw error;
    }
  }

  async function answer(request: Request, context: Context): Promise<Response> {
    const { method } = request;
    const { pathname } = new URL(request.url);
    if (token) await checkToken(request, token);
    const endpoint = ENDPOINTS.get(pathname);
    if (endpoint && method !== "POST") {
      throw new ApiError(405, `${method} ${pathname}: only POST is there`, { headers: { Allow: "POST" } });
    }
    if (endpoint) return ask(endpoint, request, context);
    const found = known.get(pathname);
    if (found && method !== "GET" && method !== "HEAD") {
      throw new ApiError(405, `${method} ${pathname}: only GET is there`, { headers: { Allow: "GET, HEAD" } });
    }
    if (found) return Response.json(found);
    throw new ApiError(404, `${method} ${pathname}: not found`);
  }

  return async (request, context = {}) => {
    if (cors && request.method === "OPTIONS") return preflight(request, cors);
    const answering = answer(request, context).catch((error: unknown) => asApiError(error).response());
    context.waitUntil?.(answering);
    const response = await answering;
    return cors ? withOrigin(response, cors) : response;
  };
}
