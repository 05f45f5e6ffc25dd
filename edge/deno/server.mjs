/** A bundle behind OpenAI's interface, in Deno: `deno run … server.mjs BUNDLE [--host H] [--port P]`. */
import { parseArgs } from "node:util";
import { load } from "mlr";
import { createHandler } from "mlr/handler";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  args: Deno.args,
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8000" },
    threads: { type: "string" },
    "context-length": { type: "string" },
  },
});
const [bundle] = positionals;
if (positionals.length !== 1) throw new Error("usage: deno run … server.mjs BUNDLE [--host H] [--port P]");

const model = await load(bundle, {
  ...(values.threads && { threads: Number(values.threads) }),
  ...(values["context-length"] && { contextLength: Number(values["context-length"]) }),
});
const handle = createHandler({
  id: model.info.name,
  load: () => Promise.resolve(model),
  token: Deno.env.get("API_TOKEN"),
  cors: Deno.env.get("CORS_ORIGIN"),
});

Deno.serve(
  {
    hostname: values.host,
    port: Number(values.port),
    onListen: ({ port }) => console.log(`${model.info.name} on http://${values.host}:${port}/v1`),
  },
  (request) => handle(request),
);
