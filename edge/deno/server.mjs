/** A bundle behind OpenAI's interface, in Deno: `deno run … server.mjs BUNDLE [--host H] [--port P]`. */
import { parseArgs } from "node:util";
import { load } from "mlr";
import { createHandler } from "mlr/handler";

try {
  await main();
} catch (error) {
  console.error(`server.mjs: ${error.message}`);
  Deno.exit(1);
}

async function main() {
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

  const options = {
    ...(values.threads && { threads: Number(values.threads) }),
    ...(values["context-length"] && { contextLength: Number(values["context-length"]) }),
  };
  const first = await load(bundle, options); // before anybody asks
  const models = [first];
  const handle = createHandler({
    id: first.info.name,
    load: async () => models.pop() ?? load(bundle, options), // again after a failure
    token: Deno.env.get("API_TOKEN"),
    cors: Deno.env.get("CORS_ORIGIN"),
  });

  Deno.serve(
    {
      hostname: values.host,
      port: Number(values.port),
      onListen: ({ port }) => console.log(`${first.info.name} on http://${values.host}:${port}/v1`),
    },
    (request) => handle(request),
  );
}
