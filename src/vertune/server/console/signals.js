/** Values that tell their listeners when they change. */

/** Return a value with listeners: read and set `.value`; `.listen(f)` calls f now and after each change, and returns what stops it. */
export function signal(initial) {
  let current = initial;
  const listeners = new Set();
  return {
    get value() {
      return current;
    },
    set value(next) {
      if (Object.is(next, current)) return;
      current = next;
      for (const listener of [...listeners]) listener(current);
    },
    listen(listener, { signal: stop } = {}) {
      listeners.add(listener);
      listener(current);
      const end = () => listeners.delete(listener);
      stop?.addEventListener("abort", end, { once: true });
      return end;
    },
  };
}
