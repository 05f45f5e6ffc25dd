using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  v8Flags = ["--expose-gc"],
  services = [
    (name = "main", worker = .worker),
    (name = "public", disk = (path = PUBLIC)),
    (name = "bucket", disk = (path = BUCKET)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "worker_probe.mjs", esModule = embed "worker_probe.mjs"),
    (name = "worker.js", esModule = embed "src/worker.js"),
    (name = "kernel-relaxed.wasm", wasm = embed "src/kernel-relaxed.wasm"),
  ],
  compatibilityDate = DATE,
  compatibilityFlags = [FLAGS],
  bindings = [BINDINGS],
);
