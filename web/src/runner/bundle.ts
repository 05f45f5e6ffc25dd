import type { Network } from "../shards/network";
import { sha256 } from "../shards/digest";
import { fetchRange } from "../shards/fetch";
import type { Store } from "../shards/store";
import type { VariantSpec } from "../shards/variant";
import { fetchWhole } from "../shards/whole";
import { MlrError } from "../shared/errors";
import { type FileEntry, type Manifest, parseManifest } from "./manifest";

const MAX_MANIFEST_BYTES = 16 * 2 ** 20;

/** A bundle under a URL. Nothing but the manifest has been read. */
export class Bundle {
  readonly manifest: Manifest;
  readonly #base: URL;
  readonly #network: Network;
  readonly #store: Store | null;

  private constructor(manifest: Manifest, base: URL, network: Network, store: Store | null) {
    this.manifest = manifest;
    this.#base = base;
    this.#network = network;
    this.#store = store;
  }

  /** `url` is its folder's or its manifest's. Throws `FetchError`, `ManifestError`, `UnsupportedModelError`. */
  static async open(url: string, network: Network, store: Store | null): Promise<Bundle> {
    const base = new URL(url);
    base.pathname = base.pathname.replace(/(\/manifest\.json|\/?)$/, "/");
    const place = new URL("manifest.json", base);
    place.search = base.search;
    const bytes = await fetchWhole(place.href, MAX_MANIFEST_BYTES, network);
    return new Bundle(parseManifest(new TextDecoder().decode(bytes), place.href), base, network, store);
  }

  /** A small file, checked, from the store or into it, in a buffer of its own. Throws `FetchError`, `IntegrityError`. */
  async readFile(entry: FileEntry): Promise<Uint8Array<ArrayBuffer>> {
    const url = this.#place(entry.file);
    const bytes = new Uint8Array(entry.size);
    const file = await this.#store?.file(entry.sha256, url);
    try {
      if (file?.read(0, bytes) && (await sha256(bytes)) === entry.sha256) return bytes;
      let at = 0;
      const never = new AbortController().signal; // here, since edge workers refuse it in their global scope
      // no more than `size` bytes come of it
      for await (const part of fetchRange(this.#network, url, 0, entry.size, never)) {
        bytes.set(part, at);
        at += part.length;
      }
      const found = await sha256(bytes);
      if (found !== entry.sha256) {
        throw new MlrError("IntegrityError", `${url} has the SHA-256 ${found}, the manifest says ${entry.sha256}`);
      }
      file?.write(0, bytes);
      return bytes;
    } finally {
      file?.close();
    }
  }

  /** The variant as the shard reader needs it. */
  specification(): VariantSpec {
    const { name, variant } = this.manifest;
    return {
      name,
      location: this.#base.href,
      size: variant.size,
      chunkSize: variant.chunkSize,
      start: variant.tensors[0]?.offset ?? 0,
      shards: variant.shards.map(({ file, ...shard }) => ({ ...shard, url: this.#place(file) })),
    };
  }

  /** Bytes of the files that `readFile` stores, by their SHA-256. */
  storedFiles(): Record<string, number> {
    const { tokenizer, chatTemplate } = this.manifest;
    const files = [tokenizer.json, tokenizer.tables, chatTemplate].filter((entry) => entry !== null);
    return Object.fromEntries(files.map(({ sha256, size }) => [sha256, size]));
  }

  #place(file: string): string {
    const url = new URL(file, this.#base);
    url.search = this.#base.search;
    return url.href;
  }
}
