"""The WASM kernel as an engine: the same module under wasmtime and in a browser."""
