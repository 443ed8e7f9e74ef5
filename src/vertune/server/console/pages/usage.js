/** What customers used in a month, by day, vertical, customer or key, and the invoice for it. */

import { get, withQuery } from "../api.js";
import { h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { showError } from "../messages.js";
import { number, t } from "../phrases.js";
import { keepQuery, link } from "../router.js";
import { may } from "../session.js";
import { table } from "../serving/lists.js";

const BY = ["day", "vertical", "customer", "key"];
/** The columns of an invoice, and those that are numbers. */
const LINE = ["customer", "item", "used", "charged", "price", "amount", "currency"];
const NUMBERS = new Set(["used", "charged", "price", "amount"]);
const COUNTS = ["requests", "records", "tokens", "cached_tokens", "jobs"];

export default async function usage({ root, query, signal }) {
  const now = new Date();
  const month = h("input", {
    type: "month",
    required: true,
    max: monthOf(now),
    value: /^\d{4}-\d{2}$/.test(query.month ?? "") ? query.month : monthOf(now),
  });
  const shown = may("admin") ? BY : BY.filter((one) => one !== "customer");
  const by = select(
    shown.map((one) => [one, t(`usage.by.${one}`)]),
    shown.includes(query.by) ? query.by : "vertical",
  );
  const content = h("div", {});
  const status = h("p", { class: "hint", role: "status" });
  const changed = () => {
    if (!/^\d{4}-\d{2}$/.test(month.value)) return; // a browser without an input for months shows a text
    keepQuery({ month: month.value, by: by.value });
    load().catch(showError);
  };
  month.onchange = by.onchange = changed;
  root.append(
    h("header", {}, h("h1", {}, t("usage.title"))),
    h("div", { class: "fields" }, field(t("usage.month"), month), field(t("usage.by"), by)),
    status,
    content,
  );
  await load();

  async function load() {
    const [since, until] = [`${month.value}-01`, `${after(month.value)}-01`];
    const chosen = by.value;
    status.textContent = t("serving.loading");
    let found;
    let invoice;
    try {
      [found, invoice] = await Promise.all([
        get("/v1/usage", { since, until, by: chosen }, { signal }),
        get("/v1/invoice", { month: month.value }, { signal }),
      ]);
    } finally {
      status.textContent = "";
    }
    if (chosen !== by.value) return; // a later choice replaced this one
    replace(content, found.usage.length ? usageTable(found.usage, chosen) : nothing(), invoiceSection(invoice, month.value));
  }

  function usageTable(rows, chosen) {
    const heads = [t(`usage.by.${chosen}`), ...COUNTS.map((one) => ({ text: t(`usage.${one}`), number: true }))];
    const body = rows.map((row) => [row[chosen] || t("usage.nokey"), ...COUNTS.map((one) => number(row[one]))]);
    const sums = COUNTS.map((one) => h("strong", {}, number(rows.reduce((sum, row) => sum + row[one], 0))));
    const file = withQuery("/v1/usage", {
      since: `${month.value}-01`,
      until: `${after(month.value)}-01`,
      by: chosen,
      media_type: "text/csv",
    });
    return [
      table(t("usage.title"), heads, [...body, [h("strong", {}, t("usage.sum")), ...sums]]),
      h(
        "div",
        { class: "buttons later" },
        h("a", { class: "button", href: file, download: `usage-${month.value}.csv` }, t("usage.download")),
      ),
    ];
  }
}

function nothing() {
  return h("div", { class: "empty" }, h("p", {}, t("usage.none"), " ", h("a", { href: link("/try") }, t("usage.none.try"))));
}

function invoiceSection({ lines }, month) {
  const file = withQuery("/v1/invoice", { month, media_type: "text/csv" });
  const heads = LINE.map((name) => ({ text: t(`usage.line.${name}`), number: NUMBERS.has(name) }));
  const cell = (line, name) =>
    NUMBERS.has(name) ? number(Number(line[name]), 4) : name === "item" ? t(`usage.item.${line.item}`) : line[name];
  return h(
    "section",
    { class: "later" },
    h("h2", {}, t("usage.invoice")),
    lines.length
      ? [
          table(
            t("usage.invoice"),
            heads,
            lines.map((line) => LINE.map((name) => cell(line, name))),
          ),
          h(
            "div",
            { class: "buttons later" },
            h("a", { class: "button", href: file, download: `invoice-${month}.csv` }, t("usage.invoice.download")),
          ),
        ]
      : h("p", { class: "muted" }, t("usage.invoice.none")),
  );
}

function monthOf(date) {
  return date.toISOString().slice(0, 7);
}

function after(month) {
  const [year, one] = month.split("-").map(Number);
  return one === 12 ? `${year + 1}-01` : `${year}-${String(one + 1).padStart(2, "0")}`;
}
