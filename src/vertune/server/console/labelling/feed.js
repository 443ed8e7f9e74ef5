/** The records of the label page: those before and after the current one. The next ones are fetched ahead, so none is waited for. */

import { at, get, send } from "../api.js";

/** Records that are in the browser ahead of the current one. */
export const AHEAD = 20;
/** Records of one request, beyond those that are here and have no answer, which the server sends again. */
const FETCHED = 30;
/** The most records of one request. */
const MOST = 100;
/** Records behind the current one that are kept. */
const BEHIND = 100;
const ANSWERED = new Set(["done", "skipped", "rejected"]);

export class Feed {
  items = [];
  place = 0;
  /** Whether labels were on their way to the server at the last request, so that it could not yet tell what is left. */
  waits = false;
  #seen = new Set();
  #project;
  #queue;
  #outbox;
  #before = null;
  #begun = false;
  #ended = false;
  #filling = null;
  #stop;

  /** `queue` is the state of the labels that are shown. */
  constructor({ project, queue, outbox, signal }) {
    this.#project = project;
    this.#queue = queue;
    this.#outbox = outbox;
    this.#stop = signal;
  }

  get current() {
    return this.items[this.place] ?? null;
  }

  get ended() {
    return this.#ended && this.place >= this.items.length;
  }

  /** Whether an item still wants an answer in this queue. */
  open(item) {
    return this.#queue === "pending" ? !item.elsewhere && !ANSWERED.has(item.label?.state) : !item.changed;
  }

  /** Go to the next record that has no answer; returns whether there is one in the browser. */
  advance() {
    const next = this.items.findIndex((item, place) => place > this.place && this.open(item));
    this.place = next < 0 ? this.#firstOpen() : next;
    this.#trim();
    return this.current !== null;
  }

  /** Go some records forward or back, whatever their state; returns whether that was possible. */
  move(step) {
    const place = this.place + step;
    if (place < 0 || place > this.items.length - (this.#ended ? 0 : 1)) return false;
    this.place = place;
    return true;
  }

  /** Go to a record; one that is no longer there is put before the current one. */
  show(item) {
    const place = this.items.indexOf(item);
    if (place < 0) this.items.splice(this.place, 0, item);
    else this.place = place;
  }

  /** Fetch records until enough are ahead. Throws the error of the request. */
  async fill() {
    if (this.#ended || this.items.length - this.place > AHEAD) return;
    this.#filling ??= this.#fetch().finally(() => {
      this.#filling = null;
    });
    await this.#filling;
  }

  /** Look for records again after the end. */
  async again() {
    this.#ended = false;
    this.#before = null;
    await this.fill();
    if (!this.current || !this.open(this.current)) this.place = this.#firstOpen();
  }

  /** Note that a record got a label in another tab. */
  answeredElsewhere(label) {
    const item = this.items.find((one) => one.record === label.record);
    if (!item || item === this.current) return;
    item.label = { ...item.label, ...label };
    item.elsewhere = ANSWERED.has(label.state);
  }

  #firstOpen() {
    const first = this.items.findIndex((item) => this.open(item));
    return first < 0 ? this.items.length : first;
  }

  #trim() {
    const surplus = this.place - BEHIND;
    if (surplus <= 0) return;
    this.items.splice(0, surplus);
    this.place -= surplus;
  }

  async #fetch() {
    const unsent = await this.#outbox.unsent(this.#project);
    const found = await (this.#queue === "pending" ? this.#next(unsent.size) : this.#listed(this.#queue));
    let added = 0;
    for (const item of found) {
      const local = unsent.get(item.record);
      if (local?.why) this.#reopen(local);
      else if (local) item.label = { ...item.label, ...local };
      if (this.#seen.has(item.record) || (this.#queue === "pending" && !this.open(item))) continue;
      this.#seen.add(item.record);
      this.items.push(item);
      added += 1;
    }
    this.waits = [...unsent.values()].some((row) => !row.why);
    if (this.#queue === "pending" && !added && !this.waits) this.#ended = true;
  }

  /** Let a record be labelled again whose label the server refused. */
  #reopen(refused) {
    const item = this.items.find((one) => one.record === refused.record);
    if (item?.label.version === refused.version) item.label = { ...item.label, state: "pending" };
  }

  /** Return records without an answer; in the beginning, those with a draft come first. */
  async #next(unsent) {
    const drafts = this.#begun ? [] : (await this.#page("draft")).labels;
    this.#begun = true;
    const path = at`/v1/projects/${this.#project}/next`;
    const count = Math.min(MOST, FETCHED + unsent + this.items.filter((item) => this.open(item)).length);
    const answer = await send("POST", path, { count }, { signal: this.#stop, attempts: 3 });
    return [...drafts, ...answer.records];
  }

  async #listed(state) {
    const answer = await this.#page(state);
    this.#before = answer.next;
    this.#ended = answer.next === null;
    return answer.labels;
  }

  #page(state) {
    const query = { state, before: this.#before, limit: FETCHED };
    return get(at`/v1/projects/${this.#project}/labels`, query, { signal: this.#stop });
  }
}
