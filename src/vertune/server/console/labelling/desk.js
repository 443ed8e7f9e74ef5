/**
 * What happens to the records of the label page: answers, drafts, undo, moving. Knows the feed and the outbox, and nothing of how a record
 * is shown. No request is waited for: labels go to the outbox, and the next records are in the feed.
 */

import { attempt } from "../messages.js";
import { signal as newSignal } from "../signals.js";
import { Clock } from "./clock.js";
import { valueOf } from "./shape.js";

/** Milliseconds after the last change of an answer until it is stored as a draft. */
const DRAFT = 600;
/** Number of answers that can be undone. */
const UNDONE = 500;
/** The longest time for one record that the server takes, in seconds. */
const LONGEST = 86_400;
const ANSWERED = new Set(["done", "skipped", "rejected"]);

export class Desk {
  /** By state, the number of own labels, as the server counted them, with what happened since. */
  counts;
  #history = [];
  #timer = 0;
  #clock;

  /** `shown` is called when there is another current record. */
  constructor({ project, shape, feed, outbox, shown, stop }) {
    this.project = project;
    this.shape = shape;
    this.feed = feed;
    this.outbox = outbox;
    this.shown = shown;
    this.counts = newSignal({ pending: 0, draft: 0, done: 0, skipped: 0, rejected: 0, ...project.mine });
    this.#clock = new Clock(stop);
    stop.addEventListener("abort", () => this.saveDraft(), { once: true });
    document.addEventListener("visibilitychange", () => document.hidden && this.saveDraft(), { signal: stop });
  }

  get item() {
    return this.feed.current;
  }

  get undoable() {
    return this.#history.length;
  }

  /** Show the current record, and measure its time from now on. */
  begin() {
    this.#clock.start();
    this.shown(this.item);
  }

  /** Store an answer, and go on. `value` is that of the target field; null for states without one. */
  answer(state, value) {
    const { item } = this;
    if (!item) return;
    clearTimeout(this.#timer);
    const before = { label: item.label, edit: item.edit };
    this.#history.push({ item, before });
    if (this.#history.length > UNDONE) this.#history.shift();
    delete item.edit;
    item.changed = true;
    this.#store(item, state, value);
    this.feed.advance();
    this.begin();
  }

  /** Take back the last answer, and show its record; returns whether there was one. */
  undo() {
    const last = this.#history.pop();
    if (!last) return false;
    this.#leave();
    const { item, before } = last;
    const state = before.label?.state ?? "pending";
    item.changed = false;
    item.edit = before.edit;
    this.#store(item, state, valueOf(this.shape, before.label));
    this.feed.show(item);
    this.begin();
    return true;
  }

  /** Go some records forward or back; returns whether that was possible. */
  move(step) {
    this.#leave();
    if (!this.feed.move(step)) return false;
    this.begin();
    return true;
  }

  /** Remember an answer that is not confirmed yet, and store it as a draft soon. */
  edit(value) {
    const { item } = this;
    if (!item) return;
    item.edit = value;
    clearTimeout(this.#timer);
    if (!ANSWERED.has(item.label?.state)) this.#timer = setTimeout(() => this.saveDraft(), DRAFT);
  }

  /** Store the answer that is not confirmed yet as a draft now. */
  saveDraft() {
    clearTimeout(this.#timer);
    const { item } = this;
    if (!item || item.edit === undefined || item.edit === null || ANSWERED.has(item.label?.state)) return;
    this.#store(item, "draft", item.edit);
    delete item.edit;
  }

  #leave() {
    this.saveDraft();
    if (this.item) this.item.seconds = this.#spent(this.item);
  }

  #spent(item) {
    return (item.seconds ?? item.label?.seconds ?? 0) + (item === this.item ? this.#clock.seconds : 0);
  }

  #store(item, state, value) {
    const version = Math.max(Date.now(), (item.label?.version ?? 0) + 1);
    const target = value === null || value === undefined ? null : { [this.shape.target]: value };
    const seconds = Math.min(LONGEST, Math.round(this.#spent(item) * 1000) / 1000);
    const old = item.label?.state ?? "pending";
    item.label = { ...item.label, state, target, seconds, version };
    if (state !== old) {
      const counts = { ...this.counts.value };
      counts[old] = Math.max(0, counts[old] - 1);
      counts[state] += 1;
      this.counts.value = counts;
    }
    attempt(() => this.outbox.put(this.project.name, { record: item.record, state, target, seconds, version }));
  }
}
