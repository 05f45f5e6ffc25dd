import { openFolder } from "../shards/folder";
import type { Scope } from "./scope";
import { makeTurn } from "./turn";
import { onMessage, post } from "./web";

export const scope: Scope = { post, onMessage, openStore: openFolder, turn: makeTurn() };
