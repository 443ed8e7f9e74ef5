/** What a vertical answered over time: how much, which labels, how sure, how fast, and what users say of it. */

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { showError } from "../messages.js";
import { number, percent, t } from "../phrases.js";
import { keepQuery, link } from "../router.js";
import { every } from "../serving/lists.js";
import { latency } from "../serving/metrics.js";
import { timeChart } from "../serving/time-chart.js";

/** The times that can be chosen, with the length of a step and their number. */
const TIMES = { hour: ["minute", 60, 60_000], day: ["hour", 24, 3_600_000], month: ["day", 30, 86_400_000] };
/** Milliseconds between two looks. */
const LOOKING = 15_000;

export default async function traffic({ root, query, signal }) {
  const { verticals } = await get("/v1/verticals", {}, { signal });
  root.append(h("header", {}, h("h1", {}, t("traffic.title"))));
  if (!verticals.length) {
    root.append(h("div", { class: "empty" }, h("p", {}, t("traffic.novertical"), " ", h("a", { href: link("/train") }, t("home.train")))));
    return;
  }
  const names = verticals.map((one) => one.name);
  const vertical = select(
    names.map((name) => [name, name]),
    names.includes(query.vertical) ? query.vertical : names[0],
  );
  const time = select(
    Object.keys(TIMES).map((one) => [one, t(`traffic.time.${one}`)]),
    query.time in TIMES ? query.time : "day",
  );
  const content = h("div", {});
  const status = h("p", { class: "hint", role: "status" });
  vertical.onchange = time.onchange = () => {
    keepQuery({ vertical: vertical.value, time: time.value });
    load().catch(showError);
  };
  root.append(h("div", { class: "fields" }, field(t("traffic.vertical"), vertical), field(t("traffic.time"), time)), status, content);
  await load();
  every(LOOKING, load, signal);

  async function load() {
    const [step, count, length] = TIMES[time.value];
    const asked = `${vertical.value} ${time.value}`;
    const since = new Date(Date.now() - (count - 1) * length).toISOString();
    if (!content.children.length) status.textContent = t("serving.loading");
    let found;
    try {
      found = await get("/v1/traffic", { vertical: vertical.value, step, since }, { signal });
    } finally {
      status.textContent = "";
    }
    if (asked !== `${vertical.value} ${time.value}`) return; // a later choice replaced this one
    const open = [...content.querySelectorAll("details")].map((one) => one.open);
    replace(content, charts(found, step));
    for (const [place, one] of [...content.querySelectorAll("details")].entries()) one.open = open[place] ?? false;
  }
}

function charts(found, step) {
  const { points } = found;
  const total = points.reduce((sum, point) => sum + point.answers, 0);
  const verdicts = points.reduce((sum, point) => sum + point.right + point.wrong, 0);
  if (!total && !verdicts) {
    return h(
      "div",
      { class: "empty" },
      h("p", {}, t("traffic.none"), " ", h("a", { href: link("/try/{vertical}", { vertical: found.vertical }) }, t("traffic.none.try"))),
    );
  }
  const times = points.map((point) => written(point.at, step));
  const estimated = points.some((point) => point.estimated);
  const pick = (get) => points.map((point) => get(point) ?? null);
  const sampled = points.reduce((sum, point) => sum + point.sampled, 0);
  return [
    h(
      "p",
      { class: "muted" },
      estimated ? t("traffic.total.estimated", { count: total }) : t("traffic.total", { count: total }),
      sampled < total && ` ${t("traffic.sampled", { count: sampled })}`,
    ),
    h(
      "div",
      { class: "charts" },
      timeChart({
        title: t("traffic.volume"),
        times,
        bars: true,
        series: [{ name: t("traffic.answers"), values: pick((one) => one.answers) }],
        format: (value) => number(value, 0),
      }),
      found.labels.length > 0 && labelChart(found, times),
      timeChart({
        title: t("traffic.confidence"),
        times,
        most: 1,
        format: (value) => percent(value),
        series: [{ name: t("traffic.confidence.mean"), values: pick((one) => one.confidence) }],
      }),
      timeChart({
        title: t("traffic.seconds"),
        times,
        format: latency,
        series: [
          { name: t("traffic.median"), values: pick((one) => one.seconds?.median) },
          { name: t("traffic.p95"), values: pick((one) => one.seconds?.p95) },
        ],
      }),
      verdicts > 0 &&
        timeChart({
          title: t("traffic.feedback"),
          times,
          bars: true,
          format: (value) => number(value, 0),
          series: [
            { name: t("traffic.right"), values: pick((one) => one.right) },
            { name: t("traffic.wrong"), values: pick((one) => one.wrong) },
          ],
        }),
    ),
    !found.feedback_complete && h("p", { class: "hint" }, t("traffic.feedback.last")),
  ];
}

/** Return the chart of labels; where an answer has one label, with the share of all others. */
function labelChart({ labels, points }, times) {
  const sums = points.map((point) => Object.values(point.labels).reduce((sum, share) => sum + share, 0));
  const single = sums.every((sum) => sum < 1.001);
  const series = labels.map((label) => ({ name: label, values: points.map((point) => point.labels[label] ?? null) }));
  const rest = sums.map((sum, place) => (points[place].sampled ? Math.max(0, 1 - sum) : null));
  if (single && rest.some((share) => share > 0.001)) series.push({ name: t("traffic.others"), values: rest, rest: true });
  return timeChart({ title: t("traffic.labels"), times, bars: true, most: single ? 1 : null, format: (value) => percent(value), series });
}

function written(iso, step) {
  const options = step === "day" ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(document.documentElement.lang, options).format(new Date(iso));
}
