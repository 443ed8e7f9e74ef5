/** The conversations that wait for a person, those of this person, and those that have ended. */

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { say } from "../messages.js";
import { duration, moment, t } from "../phrases.js";
import { keepQuery, link } from "../router.js";
import { every, PagedList } from "../serving/lists.js";
import { reasonName } from "./turn.js";

/** What each list asks for. */
const LISTS = { waiting: { stage: "waiting" }, mine: { stage: "agent", mine: true }, closed: { stage: "closed" } };
/** Milliseconds between two looks at who waits. */
const LOOKING = 3000;
const PAGE = 30;

export class Inbox {
  /** `open` is the id of the conversation that is shown, if any. */
  constructor(name, open, signal) {
    this.name = name in LISTS ? name : "waiting";
    this.open = open;
    this.signal = signal;
    this.waiting = null;
    this.tabs = h("nav", { class: "tabs", "aria-label": t("desk.lists") });
    this.list = new PagedList({
      load: (before) => this.#load(before),
      draw: (items) => h("ul", { class: "inbox-list" }, items.map((one) => this.#item(one))),
      empty: () => h("p", {}, t(`desk.none.${this.name}`)),
    });
    this.element = h("section", { class: "inbox", "aria-label": t("desk.lists") }, this.tabs, this.list.element);
    this.#showTabs({});
  }

  async start() {
    await this.list.restart();
    every(LOOKING, () => this.renew(), this.signal);
  }

  /** Show another list. */
  show(name) {
    this.name = name;
    keepQuery({ list: name });
    return this.list.restart();
  }

  /** Look again; what was loaded further down stays. */
  async renew() {
    const { items, next } = await this.#load(null);
    const seen = new Set(items.map((one) => one.id));
    const older = this.list.items.slice(PAGE).filter((one) => !seen.has(one.id));
    const same = JSON.stringify([...items, ...older]) === JSON.stringify(this.list.items);
    this.list.items = [...items, ...older];
    if (!older.length) this.list.next = next;
    if (!same) this.list.render();
  }

  async #load(before) {
    const found = await get("/v1/desk/conversations", { ...LISTS[this.name], before, limit: PAGE }, { signal: this.signal });
    this.#showTabs(found.counts ?? {});
    return { items: found.conversations, next: found.next };
  }

  #showTabs(counts) {
    if (this.waiting !== null && counts.waiting > this.waiting) say(t("desk.more", { count: counts.waiting }));
    this.waiting = counts.waiting ?? this.waiting;
    const tabs = Object.keys(LISTS).map((one) =>
      h(
        "a",
        { href: link("/desk", {}, { list: one }), "aria-current": one === this.name ? "page" : null },
        t(`desk.list.${one}`),
        counts[one] > 0 && h("span", { class: one === "waiting" ? "badge warn" : "badge" }, String(counts[one])),
      ),
    );
    replace(this.tabs, tabs);
  }

  #item(one) {
    const current = one.id === this.open ? "true" : null;
    return h(
      "li",
      {},
      h(
        "a",
        { class: "inbox-item", href: link("/desk/{id}", { id: one.id }, { list: this.name }), "aria-current": current },
        h("span", { class: "row between" }, h("strong", {}, one.app), since(one)),
        h("span", { class: "inbox-text" }, one.last || one.summary || t("desk.wordless")),
        h("span", { class: "badges" }, (one.reasons ?? []).map((reason) => h("span", { class: "badge warn" }, reasonName(reason)))),
      ),
    );
  }
}

/** Return since when a conversation waits, or when it changed last. */
function since({ stage, queued, changed }) {
  if (stage === "waiting" && queued) {
    const seconds = Math.max(0, (Date.now() - new Date(queued)) / 1000);
    const minutes = Math.floor(seconds / 60);
    const long = minutes < 60 ? t("desk.waits.minutes", { count: minutes }) : t("desk.waits", { duration: duration(60 * minutes) });
    return h("span", { class: "muted" }, minutes ? long : t("desk.waits.new"));
  }
  return h("time", { class: "muted", datetime: changed }, changed ? moment(changed) : "");
}
