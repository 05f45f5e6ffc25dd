import { PrivateStore } from "../shards/private_store";
import { sendAway } from "./give_back";
import { FAST_READING, type Scope } from "./scope";
import { makeTurn } from "./turn";
import { onMessage, post } from "./web";
import { webBytes } from "./web_bytes";

export const scope: Scope = {
  post,
  onMessage,
  openStore: () => PrivateStore.open(),
  fetch: (url, options) => fetch(url, options),
  reading: FAST_READING,
  bytes: webBytes(sendAway),
  collectGarbage: () => undefined,
  turn: makeTurn(),
};
