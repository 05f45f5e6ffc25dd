import type { Scope } from "./scope";
import { makeTurn } from "./turn";
import { onMessage, post } from "./web";

export const scope: Scope = { post, onMessage, openStore: () => Promise.resolve(null), turn: makeTurn() };
