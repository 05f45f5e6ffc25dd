/** What differs inside a worker. The build takes one implementation as `#scope`, per host. */
import type { ShardStore } from "../shards/store";

export interface Scope {
  /** Say something to the worker's maker. */
  post(message: unknown): void;
  /** Hear of what the maker says. */
  onMessage(listener: (message: unknown) => void): void;
  /** Where shards are kept between loads, or null where nothing is kept. */
  openStore(): Promise<ShardStore | null>;
  /** Let waiting messages be heard. */
  turn(): Promise<void>;
}
