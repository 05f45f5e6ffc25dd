/** What differs inside a worker. The build takes one implementation as `#scope`, per host. */
import type { Store } from "../shards/store";

export interface Scope {
  /** Say something to the worker's maker. */
  post(message: unknown): void;
  /** Hear of what the maker says. */
  onMessage(listener: (message: unknown) => void): void;
  /** Where the shards of the bundle at a URL are kept between loads, or null where they are not. */
  openStore(bundle: string): Promise<Store | null>;
  /** Let waiting messages be heard. */
  turn(): Promise<void>;
}
