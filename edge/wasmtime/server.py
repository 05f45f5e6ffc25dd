"""A small server of one bundle: mlr, wasmtime and the standard library, nothing else.

    python server.py BUNDLE [--port 8080] [--threads N]

It answers `GET /v1/models`, `POST /v1/completions` (with `stream` too) and `POST /v1/embeddings`
in OpenAI's shapes, as far as the model can. It is meant to be read and changed; `mlr serve` is the
complete server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, TypeVar

import mlr
from mlr.errors import EngineError

T = TypeVar("T")

MAX_BODY = 1 << 20
OPTIONS = ("max_tokens", "temperature", "top_p", "seed", "stop")


class Loop:
    """An event loop in a thread: the model belongs to it, requests come from their own threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop; returns its result or raises its exception."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class Handler(BaseHTTPRequestHandler):
    """One request. `loop` and `model` are set before the server starts."""

    protocol_version = "HTTP/1.1"
    loop: ClassVar[Loop]
    model: ClassVar[mlr.Model]

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            self._refuse(404, f"{self.path}: there is no such page")
            return
        model = {"id": self.model.info.name, "object": "model", "owned_by": "mlr"}
        self._answer(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        routes = {"/v1/completions": self._complete, "/v1/embeddings": self._embed}
        if self.path not in routes:
            self._refuse(404, f"{self.path}: there is no such page")
            return
        try:
            routes[self.path](self._body())
        except EngineError as error:
            self._refuse(500, str(error))
        except (mlr.MlrError, ValueError, TypeError, RecursionError) as error:
            self._refuse(400, str(error))

    def _body(self) -> dict[str, Any]:
        size = int(self.headers.get("content-length") or 0)
        if not 0 < size <= MAX_BODY:
            raise ValueError(f"the body must have between 1 and {MAX_BODY} bytes")
        body = json.loads(self.rfile.read(size))
        if not isinstance(body, dict):
            raise TypeError("the body must be a JSON object")
        return body

    def _complete(self, body: dict[str, Any]) -> None:
        options = {name: body[name] for name in OPTIONS if body.get(name) is not None}
        prompt = body.get("prompt")
        if not isinstance(prompt, (str, list)):
            raise TypeError("prompt must be text or a list of token ids")
        if body.get("stream"):
            self._stream(prompt, options)
            return
        done = self.loop.wait(self.model.generate(prompt, **options))
        usage = {
            "prompt_tokens": len(done.prompt_token_ids),
            "completion_tokens": len(done.token_ids),
            "total_tokens": len(done.prompt_token_ids) + len(done.token_ids),
        }
        self._answer(200, {**self._chunk(done.text, done.finish_reason), "usage": usage})

    def _stream(self, prompt: str | list[int], options: dict[str, Any]) -> None:
        stream = self.model.stream(prompt, **options)
        token = self.loop.wait(_next(stream))  # errors come before the headers
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        try:
            while token is not None:
                self._event(self._chunk(token.text, None))
                token = self.loop.wait(_next(stream))
            assert stream.completion is not None
            self._event(self._chunk("", stream.completion.finish_reason))
            self.wfile.write(b"data: [DONE]\n\n")
        except mlr.MlrError as error:
            self._event(_error(500, str(error)))  # the status has long been sent
        except ConnectionError:
            pass  # the client has gone; the stream is closed below, which frees the engine
        finally:
            self.loop.wait(stream.aclose())
            self.close_connection = True

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def _chunk(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}
        return {
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.model.info.name,
            "choices": [choice],
        }

    def _embed(self, body: dict[str, Any]) -> None:
        texts = body.get("input")
        if isinstance(texts, str):
            texts = [texts]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError("input must be a text or a list of texts")
        found = self.loop.wait(self.model.embed(texts))
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(found.vectors)
        ]
        usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
        answer = {"object": "list", "model": self.model.info.name, "data": data, "usage": usage}
        self._answer(200, answer)

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True  # the body may not have been read
        self._answer(status, _error(status, message))

    def _answer(self, status: int, data: dict[str, Any]) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _error(status: int, message: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind}}


async def _next(stream: mlr.TokenStream) -> mlr.Token | None:
    return await anext(stream, None)


def main() -> None:
    """Serve what the command line names."""
    parser = argparse.ArgumentParser(description="Serve one bundle on this machine.")
    parser.add_argument("bundle", help="a bundle's folder or URL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    try:
        serve(args)
    except (mlr.MlrError, OSError, OverflowError) as error:
        parser.exit(1, f"server.py: {error}\n")


def serve(args: argparse.Namespace) -> None:
    """Load the bundle and serve it until Ctrl-C."""
    Handler.loop = Loop()
    Handler.model = Handler.loop.wait(mlr.load(args.bundle, threads=args.threads))
    with ThreadingHTTPServer((args.host, args.port), Handler) as server:
        print(f"http://{args.host}:{server.server_port}/v1", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            Handler.loop.wait(Handler.model.close())


if __name__ == "__main__":
    main()
