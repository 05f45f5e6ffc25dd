/** A bundle behind OpenAI's interface, in Node.js: `node server.mjs BUNDLE [--host H] [--port P]`. */
import { once } from "node:events";
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { env, exit } from "node:process";
import { parseArgs } from "node:util";
import { load } from "mlr";
import { createHandler } from "mlr/handler";

try {
  await main();
} catch (error) {
  console.error(`server.mjs: ${error.message}`);
  exit(1);
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "8000" },
      threads: { type: "string" },
      "context-length": { type: "string" },
    },
  });
  const [bundle] = positionals;
  if (positionals.length !== 1) throw new Error("usage: node server.mjs BUNDLE [--host H] [--port P]");

  const options = {
    ...(values.threads && { threads: Number(values.threads) }),
    ...(values["context-length"] && { contextLength: Number(values["context-length"]) }),
  };
  const first = await load(bundle, options); // before anybody asks
  const models = [first];
  const handle = createHandler({
    id: first.info.name,
    load: async () => models.pop() ?? load(bundle, options), // again after a failure
    token: env.API_TOKEN,
    cors: env.CORS_ORIGIN,
  });

  const server = createServer((incoming, outgoing) => {
    answer(handle, incoming, outgoing).catch(() => outgoing.destroy()); // the client has left
  });
  server.listen(Number(values.port), values.host);
  await once(server, "listening");
  console.log(`${first.info.name} on http://${values.host}:${server.address().port}/v1`);
}

async function answer(handle, incoming, outgoing) {
  const leaving = new AbortController();
  outgoing.once("close", () => leaving.abort());
  outgoing.once("finish", () => incoming.resume()); // a client may send all of a body before it reads
  const { method } = incoming;
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  const request = new Request(new URL(incoming.url, "http://localhost"), {
    method,
    headers,
    body: ["GET", "HEAD"].includes(method) ? null : incoming.iterator({ destroyOnReturn: false }),
    duplex: "half",
    signal: leaving.signal,
  });
  const response = await handle(request);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (!response.body) return outgoing.end();
  const body = Readable.fromWeb(response.body);
  await pipeline(body, outgoing).finally(() => body.destroy()); // also where the client had left before
}
