import { MlrError } from "../shared/errors";
import type { Scope } from "./scope";

function nobody(): never {
  throw new MlrError("EngineError", "there are no workers here");
}

export const scope: Scope = {
  post: nobody,
  onMessage: nobody,
  openStore: () => Promise.resolve(null),
  turn: () =>
    new Promise((resolve) => {
      setTimeout(resolve, 0);
    }),
};
