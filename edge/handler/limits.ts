/** The limits of what a request may ask for: those of the Python server, less where memory is short. */

/** Bytes of a request's body, unless the handler is made with another limit. */
export const MAX_BODY = 2 ** 20;
/** Levels of nesting in a request's body. */
export const MAX_DEPTH = 32;
/**
 * Characters of a prompt for each token of the context. Text takes about 4; a prompt of more is
 * refused without the seconds that it would take to see how far it is over the context.
 */
export const MAX_CHARACTERS_PER_TOKEN = 64;
/** Prompts in one completion request. */
export const MAX_PROMPTS = 64;
/** Texts in one embedding request. */
export const MAX_INPUTS = 256;
/** Messages in one chat request. */
export const MAX_MESSAGES = 4096;
/** Stop sequences in a request, as in OpenAI's interface. */
export const MAX_STOPS = 4;
/** Characters of a stop sequence. */
export const MAX_STOP_LENGTH = 1024;
/** The largest `max_tokens`; the context ends a generation long before. */
export const MAX_TOKENS = 2 ** 24;
/** Likeliest tokens that may be asked for beside each token, as in OpenAI's chats. */
export const MAX_LOGPROBS = 20;
/** Requests that a model works on or that wait for it; the next one is told to come back later. */
export const MAX_REQUESTS = 32;
/** Milliseconds after which a load is taken for lost: a host may end the request that began it. */
export const LOAD_TIMEOUT = 120_000;
