/** One uploaded file: what the server found in it, its rows, and what can be made of it. */

import { at, get } from "../api.js";
import { h } from "../dom.js";
import { field } from "../forms.js";
import { showError } from "../messages.js";
import { bytes, listed, moment, number, t } from "../phrases.js";
import { go, link } from "../router.js";
import { facts, PagedList, table } from "../serving/lists.js";
import { taskName } from "../serving/metrics.js";
import { fieldName } from "../serving/parts.js";
import { deleteDataset, guessed } from "./data.js";

/** Milliseconds after the last key until rows are searched. */
const TYPING = 400;

export default async function dataset({ root, params, signal, title }) {
  const found = await get(at`/v1/datasets/${params.id}`, {}, { signal });
  const name = found.name || found.id;
  title(name);
  root.append(
    h(
      "header",
      {},
      h("h1", {}, name),
      h(
        "div",
        { class: "buttons" },
        h("a", { class: "button primary", href: link("/train", {}, { dataset: found.id }) }, t("data.train")),
        h("a", { class: "button", href: link("/projects/new", {}, { dataset: found.id }) }, t("data.label")),
        h("button", { type: "button", class: "danger", onclick: remove }, t("data.delete")),
      ),
    ),
    report(found),
    rows(found, signal),
  );

  async function remove() {
    if (await deleteDataset(found)) go(link("/data"));
  }
}

function report({ report: about, bytes: size, at: when, format }) {
  const guess = about.guess;
  const fields = Object.entries(guess?.fields ?? {}).map(([name, columns]) => `${fieldName(name)} ← ${listed([columns].flat())}`);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, t("data.report")),
    facts([
      [t("data.rows"), number(about.rows)],
      [t("data.columns"), listed(about.columns)],
      [t("data.size"), `${bytes(size)} (${format})`],
      [t("data.at"), moment(when)],
      [t("data.task"), guess ? `${taskName(guessed(about))} (${listed(fields)})` : t("data.task.none")],
    ]),
    [...(guess?.warnings ?? []), ...about.notes].map((note) => h("p", { class: "notice warn" }, note)),
    about.unreadable > 0 && unreadable(about),
  );
}

function unreadable(about) {
  const rows = about.unreadable_rows.map((row) => [number(row.row), row.why]);
  return h(
    "details",
    {},
    h("summary", {}, t("data.unreadable", { count: about.unreadable })),
    table(t("data.unreadable", { count: about.unreadable }), [t("data.row"), t("data.why")], rows),
  );
}

function rows(found, signal) {
  const search = h("input", { type: "search", maxlength: 200, oninput: searchSoon, autocomplete: "off" });
  const columns = found.report.columns;
  let timer = null;
  const list = new PagedList({
    load: async (after) => {
      const query = { text: search.value.trim(), after, limit: 50 };
      const page = await get(at`/v1/datasets/${found.id}/rows`, query, { signal });
      return { items: page.rows, next: page.next };
    },
    draw: (items) => {
      const shown = columns.slice(0, 100);
      const body = items.map((row) => [number(row.row), ...(row.error ? [broken(row)] : shown.map((column) => cell(row.values[column])))]);
      return table(t("data.look"), [{ text: t("data.row"), number: true }, ...shown], body);
    },
    empty: () => h("p", {}, t("data.look.none")),
  });
  function searchSoon() {
    clearTimeout(timer);
    timer = setTimeout(() => list.restart().catch(showError), TYPING);
  }
  list.restart().catch(showError);
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  return h("section", { class: "later" }, h("h2", {}, t("data.look")), field(t("data.search"), search), list.element);
}

function broken(row) {
  return h("span", { class: "problem" }, t("data.broken", { why: row.error }));
}

function cell(value) {
  if (value === null || value === undefined) return h("span", { class: "muted" }, "–");
  return h("div", { class: "cell" }, typeof value === "object" ? JSON.stringify(value) : String(value));
}
