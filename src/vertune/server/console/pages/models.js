/** The verticals: which model each serves, how good it is, and whether it is healthy. */

import { at, get } from "../api.js";
import { h } from "../dom.js";
import { language, t } from "../phrases.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { mainMetric, metricLine, taskName, verticalBadge } from "../serving/metrics.js";

export default async function models({ root, signal }) {
  const { verticals } = await get("/v1/verticals", { language }, { signal });
  const train = may("train") && h("a", { class: "button primary", href: link("/train") }, t("home.train"));
  root.append(h("header", {}, h("h1", {}, t("models.title")), train || ""));
  if (!verticals.length) {
    root.append(h("div", { class: "empty" }, h("p", {}, may("train") ? t("models.none") : t("models.none.see"))));
    return;
  }
  const cards = verticals.map(card);
  root.append(
    h(
      "div",
      { class: "cards" },
      cards.map((one) => one.element),
    ),
  );
  await Promise.all(cards.map((one) => one.measure(signal).catch(() => {})));
}

function card(vertical) {
  const metric = h("p", {}, h("span", { class: "muted" }, "…"));
  const params = { vertical: vertical.name };
  const element = h(
    "article",
    { class: "card" },
    h(
      "div",
      { class: "row between" },
      h("h2", {}, h("a", { href: link("/models/{vertical}", params) }, vertical.name)),
      verticalBadge(vertical),
    ),
    metric,
    h("p", { class: "muted" }, about(vertical)),
    (vertical.fault || vertical.coming?.why) && h("p", { class: "notice bad" }, vertical.fault || vertical.coming.why),
    h(
      "div",
      { class: "buttons" },
      vertical.ready && h("a", { class: "button", href: link("/try/{vertical}", params) }, t("models.try")),
      h("a", { class: "button", href: link("/traffic", {}, params) }, t("models.traffic")),
    ),
  );
  return {
    element,
    async measure(signal) {
      const { versions } = await get(at`/v1/verticals/${vertical.name}/versions`, {}, { signal });
      const live = versions.find((version) => version.model === (vertical.model ?? vertical.coming?.model));
      metric.replaceChildren(metricLine(live && mainMetric(live)), ` · ${t("models.versions", { count: versions.length })}`);
    },
  };
}

function about(vertical) {
  const parts = [
    vertical.task && taskName(vertical.task),
    vertical.labels && t("models.labels", { count: vertical.labels.length }),
    vertical.precision,
    vertical.shared && t("models.shared"),
  ];
  return parts.filter(Boolean).join(" · ");
}
