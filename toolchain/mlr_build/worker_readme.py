"""The README.md of a Worker project."""

from __future__ import annotations

from typing import Literal

from mlr.bundle.manifest import Manifest
from mlr_build.edge_limits import MEMORY_LIMIT, WorkerMemory
from mlr_build.progress import human_bytes

__all__ = ["readme", "resource_name"]

_TEXT = """\
# {name}, as a Cloudflare Worker

Made by `mlr-build worker`. It answers `POST {endpoint}` and `GET /v1/models` as OpenAI's interface
does. The model runs in the worker itself: in WebAssembly, on one thread. It is loaded by the first
request that needs it.

## Deploy

```console
$ npm install
$ npx wrangler login
{steps}$ npx wrangler secret put API_TOKEN
$ npx wrangler deploy
```

`API_TOKEN` is what requests have to carry as `Authorization: Bearer …`; without it anybody may
ask. `npx wrangler dev` runs the worker on this machine, with the token from `.dev.vars`
(`API_TOKEN=…`).

```console
$ curl -s https://….workers.dev{endpoint} \\
    -H "Authorization: Bearer $API_TOKEN" -H "Content-Type: application/json" \\
    -d '{request}'
```

## Limits

| | |
|---|---|
| script, compressed | {script} |
| memory, predicted | {total} of {limit} |
| of that | kernel {kernel}, tokenizer {tokenizer}, JavaScript {javascript} |
| context | {context} tokens |

The free plan gives a request 10 ms of processor time, which loading and most answers exceed: on a
paid one set `limits.cpu_ms` in `wrangler.jsonc`. The prediction of memory leaves no room
for what else a worker might do; requests wait for each other, so they do not add up.

## Licence

The model is under the licence {license}.{notice} Whoever deploys it has to keep to that.
"""

_BUCKET = """\
$ npx wrangler r2 bucket create {bucket}
$ (cd bucket && for file in shards/*; do \\
    npx wrangler r2 object put "{bucket}/$file" --file "$file" --remote; done)
"""


def resource_name(manifest: Manifest) -> str:
    """The model's name as workers and buckets may be named: small letters, digits, hyphens."""
    letters = (c if c.isascii() and c.isalnum() else "-" for c in manifest.name.lower())
    return "-".join(filter(None, "".join(letters).split("-")))[:63].strip("-")


def readme(
    manifest: Manifest, weights: Literal["assets", "r2"], memory: WorkerMemory, script: int
) -> str:
    """The text; `script` is how many bytes it has compressed."""
    embeds = manifest.variants[0].config.pooling != "none"
    request = '"input": "A text"' if embeds else '"prompt": "Once upon a time", "stream": true'
    return _TEXT.format(
        name=manifest.name,
        endpoint="/v1/embeddings" if embeds else "/v1/completions",
        steps=_BUCKET.format(bucket=resource_name(manifest)) if weights == "r2" else "",
        request=f'{{"model": "{manifest.name}", {request}}}',
        script=human_bytes(script),
        total=human_bytes(memory.total),
        limit=human_bytes(MEMORY_LIMIT),
        kernel=human_bytes(memory.kernel),
        tokenizer=human_bytes(memory.tokenizer),
        javascript=human_bytes(memory.script),
        context=memory.context_length,
        license=manifest.license.id,
        notice=f" {manifest.license.notice}" if manifest.license.notice else "",
    )
