/** What every answer carries: its id, its kind, when it was made, and by which model. */
export interface Identity {
  id: string;
  object: string;
  created: number;
  model: string;
}

/** An identity that no other answer has. */
export function identify(prefix: string, object: string, model: string): Identity {
  const id = `${prefix}-${crypto.randomUUID().replaceAll("-", "")}`;
  return { id, object, created: Math.floor(Date.now() / 1000), model };
}
