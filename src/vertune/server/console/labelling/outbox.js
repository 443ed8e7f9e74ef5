/**
 * Sends labels to the server. A label is stored in the browser first, and stays there until the server has it: through reloads, lost
 * connections and closed tabs. Sending one twice is harmless, because the server compares versions.
 */

import { ApiError, at, backOff, send } from "../api.js";
import { signal } from "../signals.js";
import { openStorage } from "./storage.js";

/** Labels in one request. */
const MOST = 200;
/** Milliseconds in which labels gather before they are sent. */
const GATHER = 250;
/** Milliseconds after which a request without an answer is sent again. */
const LONGEST = 30_000;
const CHANNEL = "vertune.labels";

export class Outbox {
  /** {counted, waiting, refused, offline, durable}: the labels that are not on the server, and why; not `counted` in the beginning. */
  state = signal({ counted: false, waiting: 0, refused: 0, offline: false, durable: true });
  #owner;
  #storage = openStorage();
  #channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(CHANNEL) : null;
  #timer = 0;
  #failures = 0;
  #sending = null;
  #stopped = new AbortController();
  #listeners = new Set();

  /** `owner` identifies the person, so that nobody sends the labels of somebody else who used the same browser. */
  constructor(owner) {
    this.#owner = owner;
    const options = { signal: this.#stopped.signal };
    addEventListener("online", () => this.#soon(0), options);
    document.addEventListener("visibilitychange", () => this.#soon(0), options);
    this.#channel?.addEventListener("message", ({ data }) => this.#heard(data), options);
    addEventListener("beforeunload", (event) => !this.state.value.durable && event.preventDefault(), options);
    this.#count();
    this.#soon(0);
  }

  /** Stop sending; what waits stays in the browser. */
  stop() {
    this.#stopped.abort();
    clearTimeout(this.#timer);
    this.#channel?.close();
  }

  /** Store a label of this person and send it soon: {record, state, target, seconds, version}. */
  async put(project, label) {
    const row = { ...label, project, owner: this.#owner };
    this.state.value = { ...this.state.value, waiting: this.state.value.waiting + 1 };
    this.#channel?.postMessage({ owner: this.#owner, project, label });
    await (await this.#storage).put(row);
    await this.#count();
    this.#soon(GATHER);
  }

  /** Call `listener(project, label)` for each label that this person gives in another tab. */
  heard(listener, stop) {
    this.#listeners.add(listener);
    stop.addEventListener("abort", () => this.#listeners.delete(listener), { once: true });
  }

  /** Return the labels of a project that are not on the server, by record. */
  async unsent(project) {
    const rows = await (await this.#storage).all(this.#owner);
    return new Map(rows.filter((row) => row.project === project).map((row) => [row.record, row]));
  }

  /** Return the labels that the server refused, each with the reason `why`. */
  async refused() {
    return (await (await this.#storage).all(this.#owner)).filter((row) => row.why);
  }

  /** Send labels again that the server refused. */
  async retry(rows) {
    await (await this.#storage).settle(rows, ({ why, ...row }) => row);
    await this.flush();
  }

  /** Forget labels that the server refused. */
  async discard(rows) {
    await (await this.#storage).settle(rows, () => null);
    await this.#count();
  }

  /** Send what waits now; resolves when all is sent, or when sending failed. */
  async flush() {
    clearTimeout(this.#timer);
    if (!this.#sending) {
      this.#sending = this.#locked().finally(() => {
        this.#sending = null;
      });
    }
    await this.#sending;
  }

  #heard({ owner, project, label }) {
    if (owner !== this.#owner) return;
    if (label) for (const listener of this.#listeners) listener(project, label);
    this.#count();
  }

  #soon(milliseconds) {
    clearTimeout(this.#timer);
    if (!this.#stopped.signal.aborted) this.#timer = setTimeout(() => this.flush(), milliseconds);
  }

  /** Send while no other tab does; the lock needs a secure context, and without it two tabs may send the same, which is harmless. */
  async #locked() {
    if (!navigator.locks) return this.#sendAll();
    return navigator.locks.request(`${CHANNEL}/${this.#owner}`, () => this.#sendAll());
  }

  async #sendAll() {
    const storage = await this.#storage;
    try {
      for (;;) {
        const rows = (await storage.all(this.#owner)).filter((row) => !row.why);
        if (!rows.length || this.#stopped.signal.aborted) break;
        const batch = rows.filter((row) => row.project === rows[0].project).slice(0, MOST);
        await this.#sendBatch(storage, batch);
        this.#channel?.postMessage({ owner: this.#owner });
      }
      this.#failures = 0;
      await this.#count(false);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401) return; // sent after the next sign-in
      await this.#count(true);
      this.#soon(backOff(this.#failures, error.wait));
      this.#failures += 1;
    }
  }

  async #sendBatch(storage, rows) {
    const labels = rows.map(({ record, state, target, seconds, version }) => ({ record, state, target, seconds, version }));
    let answer;
    try {
      const signal = AbortSignal.timeout(LONGEST);
      answer = await send("PUT", at`/v1/projects/${rows[0].project}/labels`, { labels }, { signal });
    } catch (error) {
      if (error.temporary || error.status === 401 || error.status === 408 || error.status >= 500) throw error;
      if (rows.length === 1) return storage.settle(rows, (row) => ({ ...row, why: error.message }));
      for (const row of rows) await this.#sendBatch(storage, [row]); // so that one bad label does not stop the others
      return undefined;
    }
    const why = new Map((answer.refused ?? []).map((one) => [one.record, one.why]));
    return storage.settle(rows, (row) => (why.has(row.record) ? { ...row, why: why.get(row.record) } : null));
  }

  async #count(offline = this.state.value.offline) {
    const storage = await this.#storage;
    const rows = await storage.all(this.#owner);
    const refused = rows.filter((row) => row.why).length;
    const waiting = rows.length - refused;
    const durable = storage.durable || waiting === 0;
    this.state.value = { counted: true, waiting, refused, offline: offline && waiting > 0, durable };
  }
}

let current = null;

/** Return the outbox of the signed-in person; `owner` "" ends it. */
export function outboxOf(owner) {
  if (current?.owner === owner) return current.outbox;
  current?.outbox.stop();
  current = owner ? { owner, outbox: new Outbox(owner) } : null;
  return current?.outbox ?? null;
}
