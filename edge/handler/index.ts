/** `import { createHandler } from "mlr/handler"`. */
export { type Context, createHandler, type Handler, type HandlerOptions } from "./handler";
