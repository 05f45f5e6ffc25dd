import { openFolder } from "../shards/folder";
import { collectGarbage } from "./collect";
import { files } from "./deno_files";
import { fetchWith } from "./file_fetch";
import { detach } from "./give_back";
import { FAST_READING, type Scope } from "./scope";
import { makeTurn } from "./turn";
import { onMessage, post } from "./web";
import { webBytes } from "./web_bytes";

export const scope: Scope = {
  post,
  onMessage,
  openStore: (bundle) => openFolder(files, bundle),
  fetch: fetchWith(files),
  reading: FAST_READING,
  bytes: webBytes(detach),
  collectGarbage,
  turn: makeTurn(),
};
