/** Metrics of models as texts: the name in the language of the person, the value, and its interval where there is one. */

import { h } from "../dom.js";
import { duration, hasPhrase, number, percent, t } from "../phrases.js";

/** Return the name of a metric. */
export function metricName(name) {
  return hasPhrase(`metric.${name}`) ? t(`metric.${name}`) : name.replaceAll("_", " ");
}

/** Metrics that are no shares, although they may lie between 0 and 1. */
const PLAIN = new Set(["mcc", "mae", "mse", "rmse", "r2", "pearson", "spearman", "mrr", "ndcg"]);

/** Return the value of the metric `name`: a percentage if it is a share. */
export function metricValue(value, name = "") {
  if (value === null || value === undefined) return "–";
  return value >= 0 && value <= 1 && !PLAIN.has(name) ? percent(value, 1) : number(value, 3);
}

/** Return {split, name, value, interval} of the figure by which a version is judged: the first one on test rows, else on others. */
export function mainMetric(version) {
  const split = version.metrics.test ? "test" : Object.keys(version.metrics)[0];
  const metrics = version.metrics[split] ?? {};
  const name = Object.keys(metrics)[0];
  return name === undefined ? null : { split, name, value: metrics[name], interval: version.intervals?.[split]?.[name] ?? null };
}

/** Return a figure with its interval and the rows that it is of, as an element. */
export function metricLine(metric) {
  if (!metric) return h("span", { class: "muted" }, t("serving.metric.none"));
  const [low, high] = metric.interval ?? [];
  return h(
    "span",
    { class: "metric" },
    h("strong", {}, metricValue(metric.value, metric.name)),
    ` ${metricName(metric.name)} `,
    metric.interval &&
      h(
        "span",
        { class: "muted" },
        t("serving.metric.interval", { low: metricValue(low, metric.name), high: metricValue(high, metric.name) }),
      ),
    h("span", { class: "badge" }, hasPhrase(`serving.split.${metric.split}`) ? t(`serving.split.${metric.split}`) : metric.split),
  );
}

/** Return how long a request took, in milliseconds if it is less than a second. */
export function latency(seconds) {
  return seconds < 1 ? t("serving.ms", { value: number(1000 * seconds, seconds < 0.01 ? 1 : 0) }) : duration(seconds);
}

/** Return the state of a vertical as a badge. */
export function verticalBadge(vertical) {
  if (vertical.fault) return h("span", { class: "badge bad" }, t("serving.vertical.unhealthy"));
  if (vertical.coming) {
    const kind = ["failed", "damaged"].includes(vertical.coming.state) ? "bad" : "warn";
    return h("span", { class: `badge ${kind}` }, t(`serving.vertical.${vertical.coming.state}`));
  }
  return h("span", { class: "badge good" }, t("serving.vertical.live"));
}

/** Return the name of a task; plugins may have tasks without a phrase. */
export function taskName(name) {
  return hasPhrase(`task.${name}`) ? t(`task.${name}`) : name;
}
