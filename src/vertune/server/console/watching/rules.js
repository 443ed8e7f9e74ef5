/** The rules of a vertical, and how much each is believed. */

import { h } from "../dom.js";
import { number, t } from "../phrases.js";
import { table } from "../serving/lists.js";

/** Return the table of rules, with a sentence for each whose alerts people called false; nothing without rules. */
export function ruleTable(rules) {
  if (!rules.length) return null;
  const heads = [
    t("watch.rule"),
    t("watch.severity"),
    { text: t("watch.weight"), number: true },
    { text: t("watch.windows"), number: true },
    t("watch.rule.monitors"),
  ];
  const rows = rules.map((one) => [
    one.name,
    t(`watch.severity.${one.severity}`),
    number(one.weight),
    number(one.windows),
    one.monitors.length ? one.monitors.join(", ") : t("watch.rule.all"),
  ]);
  const advice = rules.flatMap((one) => one.advice);
  return h(
    "section",
    { class: "later" },
    h("h2", {}, t("watch.rules")),
    h("p", { class: "muted" }, t("watch.rules.text")),
    table(t("watch.rules"), heads, rows),
    advice.map((sentence) => h("p", { class: "notice" }, sentence)),
  );
}
