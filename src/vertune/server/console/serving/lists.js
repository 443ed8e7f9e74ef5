/** Tables with a caption for screen readers, and lists that are loaded page by page. */

import { h, replace } from "../dom.js";
import { showError } from "../messages.js";
import { t } from "../phrases.js";

/** Return a table that scrolls sideways where it is too wide. `heads` are texts, or {text, number: true} for columns of numbers. */
export function table(caption, heads, rows) {
  const columns = heads.map((head) => (typeof head === "string" ? { text: head } : head));
  const cells = (row) => row.map((cell, place) => h("td", { class: columns[place].number ? "number" : null }, cell));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "visually-hidden" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((head) => h("th", { scope: "col", class: head.number ? "number" : null }, head.text)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) => (row instanceof Node ? row : h("tr", {}, cells(row)))),
      ),
    ),
  );
}

/** Return a row of a table whose cells may be numbers: {value, number: true}. */
export function tableRow(cells, attributes = {}) {
  const cell = (one) => one !== null && typeof one === "object" && "value" in one && !(one instanceof Node);
  return h(
    "tr",
    attributes,
    cells.map((one) => (cell(one) ? h("td", { class: "number" }, one.value) : h("td", {}, one))),
  );
}

/**
 * A list that is loaded page by page. `load(cursor)` resolves to {items, next}; `draw(items)` returns an element with all items so far;
 * `empty()` returns what is shown if there are none.
 */
export class PagedList {
  constructor({ load, draw, empty }) {
    Object.assign(this, { load, draw, empty });
    this.items = [];
    this.next = null;
    this.content = h("div", {});
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.#append() }, t("action.more"));
    this.status = h("p", { class: "hint", role: "status" });
    this.element = h("div", { class: "paged" }, this.content, this.status, h("div", { class: "buttons" }, this.more));
  }

  /** Load the first page again. */
  async restart() {
    this.attempt = (this.attempt ?? 0) + 1;
    return this.#load(null, this.attempt);
  }

  #append() {
    return this.#load(this.next, this.attempt).catch(showError);
  }

  async #load(cursor, attempt) {
    this.more.disabled = true;
    this.status.textContent = t("serving.loading");
    try {
      const { items, next } = await this.load(cursor);
      if (attempt !== this.attempt) return; // a later search replaced this one
      this.items = cursor === null ? items : [...this.items, ...items];
      this.next = next;
      this.render();
    } finally {
      if (attempt === this.attempt) {
        this.status.textContent = "";
        this.more.disabled = false;
      }
    }
  }

  /** Draw what is loaded. */
  render() {
    replace(this.content, this.items.length ? this.draw(this.items) : h("div", { class: "empty" }, this.empty()));
    this.more.hidden = this.next === null;
  }
}

/** Call a function every so many milliseconds while the page is shown and visible; errors are left to the next time. */
export function every(milliseconds, work, signal) {
  let running = false;
  const timer = setInterval(async () => {
    if (running || document.hidden) return;
    running = true;
    try {
      await work();
    } catch {
      // the next time tells
    } finally {
      running = false;
    }
  }, milliseconds);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** Return pairs of a term and its value as a list of definitions. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "facts" },
    shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** Return text that a click copies, with its button. */
export function copyable(text, name) {
  const button = h("button", { type: "button", onclick: copy }, t("serving.copy"));
  const input = h("input", { class: "secret", value: text, readonly: true, "aria-label": name, onfocus: () => input.select() });
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      input.focus(); // a page without encryption has no clipboard: the text is selected
      input.select();
      document.execCommand?.("copy");
    }
    button.textContent = t("serving.copied");
  }
  return h("div", { class: "copyable" }, input, button);
}
