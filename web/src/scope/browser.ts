import { ShardStore } from "../shards/store";
import type { Scope } from "./scope";
import { makeTurn } from "./turn";
import { onMessage, post } from "./web";

export const scope: Scope = { post, onMessage, openStore: () => ShardStore.open(), turn: makeTurn() };
