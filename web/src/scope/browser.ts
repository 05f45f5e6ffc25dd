import { PrivateStore } from "../shards/private_store";
import type { Scope } from "./scope";
import { makeTurn } from "./turn";
import { onMessage, post } from "./web";

export const scope: Scope = { post, onMessage, openStore: () => PrivateStore.open(), turn: makeTurn() };
