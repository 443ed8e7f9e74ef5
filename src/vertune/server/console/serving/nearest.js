/** The training rows that are most like a record, fetched when somebody opens the list. */

import { at, send } from "../api.js";
import { h, replace } from "../dom.js";
import { explained } from "../messages.js";
import { number, t } from "../phrases.js";

/** Rows that are shown. */
const SHOWN = 5;

/** Return the list for a model and a record, closed. */
export function nearestRows(vertical, record) {
  const body = h("div", { "aria-live": "polite" });
  let asked = false;
  const open = async () => {
    if (!element.open || asked) return;
    asked = true;
    try {
      const found = await send("POST", at`/v1/verticals/${vertical.name}/nearest`, { record, count: SHOWN });
      replace(body, content(found));
    } catch (error) {
      asked = false;
      replace(body, h("p", { class: "notice bad", role: "alert" }, explained(error)));
    }
  };
  const element = h("details", { ontoggle: open }, h("summary", {}, t("try.near")), body);
  return element;
}

function content(found) {
  if (found.missing) return h("p", { class: "muted" }, t(`try.near.missing.${found.missing.replace(" ", "_")}`));
  if (!found.rows.length) return h("p", { class: "muted" }, t("try.near.none"));
  const few = found.searched < found.total;
  return [
    h("ol", { class: "near-rows" }, found.rows.map(row)),
    few && h("p", { class: "hint" }, t("try.near.searched", { searched: number(found.searched), total: number(found.total) })),
  ];
}

function row({ record, target, similarity }) {
  const texts = Object.values(record).map((value) => h("p", { class: "record-text" }, String(value)));
  const answers = Object.values(target).map((value) => h("span", { class: "badge accent wrap" }, written(value)));
  return h(
    "li",
    {},
    texts,
    h("div", { class: "badges" }, answers, h("span", { class: "badge" }, t("try.near.similarity", { value: number(similarity) }))),
  );
}

/** Return a right answer as text: labels, numbers, or the labels of spans. */
function written(value) {
  if (!Array.isArray(value)) return String(value);
  return value.map((one) => (typeof one === "object" ? (one.label ?? one.text) : String(one))).join(", ") || "–";
}
