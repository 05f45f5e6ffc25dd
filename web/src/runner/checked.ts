import { MlrError } from "../shared/errors";

/** JSON that came from the network, read field by field, each with its type and limits. */
export class Checked {
  readonly #value: Record<string, unknown>;

  /** `path` names the object in errors. Throws `ManifestError` unless `value` is an object. */
  constructor(
    value: unknown,
    readonly where: string,
    readonly path: string,
  ) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.error("", "must be an object");
    this.#value = value as Record<string, unknown>;
  }

  has(name: string): boolean {
    return this.#value[name] !== undefined && this.#value[name] !== null;
  }

  /** The fields as they are. */
  all(): Record<string, unknown> {
    return this.#value;
  }

  raw(name: string): unknown {
    return this.#value[name];
  }

  text(name: string, pattern = /^[^]{0,8192}$/): string {
    const value = this.#value[name];
    if (typeof value !== "string" || !pattern.test(value)) throw this.error(name, `must match ${pattern.source}`);
    return value;
  }

  optionalText(name: string): string | null {
    return this.has(name) ? this.text(name) : null;
  }

  integer(name: string, low: number, high: number): number {
    const value = this.#value[name];
    if (typeof value !== "number" || !Number.isInteger(value) || value < low || value > high) {
      throw this.error(name, `must be an integer from ${low} to ${high}`);
    }
    return value;
  }

  object(name: string): Checked {
    return new Checked(this.#value[name], this.where, this.#full(name));
  }

  list(name: string, limit: number): unknown[] {
    const value = this.#value[name];
    if (!Array.isArray(value) || value.length > limit) throw this.error(name, `must be a list of at most ${limit}`);
    return value;
  }

  objects(name: string, limit: number): Checked[] {
    return this.list(name, limit).map((item, i) => new Checked(item, this.where, `${this.#full(name)}[${i}]`));
  }

  #full(name: string): string {
    return [this.path, name].filter(Boolean).join(".");
  }

  /** An error about one field. */
  error(name: string, problem: string): MlrError {
    return new MlrError("ManifestError", `${this.where}: ${this.#full(name) || "the manifest"}: ${problem}`);
  }
}
