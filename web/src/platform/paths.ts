/** Locations where there are files: Node, and Deno through what it has of Node. */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { MlrError } from "../shared/errors";
import { resolveLocation } from "./location";
import type { Locate } from "./platform";

/** A path or a URL as a URL. */
export const locatePathOrUrl: Locate = (location) => {
  if (typeof location !== "string" && !(location instanceof URL)) {
    throw new MlrError("RequestError", `a bundle's location is a path or a URL, got ${String(location)}`);
  }
  const isUrl = location instanceof URL || /^[a-z][a-z0-9+.-]+:/i.test(location);
  // resolve drops a slash at the end, which does not matter for a folder
  const url = isUrl ? location : pathToFileURL(resolve(location));
  return resolveLocation(url, undefined, ["https:", "http:", "file:"]);
};
