/**
 * A function that resolves in a later turn of the event loop; timers would wait for 4 ms. Its
 * messages go to and fro: of those that go one way, Deno lets 128 through before it hears others.
 */
export function makeTurn(): () => Promise<void> {
  let { port1: from, port2: to } = new MessageChannel();
  const waiting: (() => void)[] = [];
  from.onmessage = to.onmessage = () => waiting.shift()?.();
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      [from, to] = [to, from];
      from.postMessage(null);
    });
}
