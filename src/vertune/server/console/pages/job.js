/** One job: how it goes on, and what it made, beside the other versions of its vertical. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { attempt, confirm } from "../messages.js";
import { language, moment, t } from "../phrases.js";
import { go, link } from "../router.js";
import { may } from "../session.js";
import { isRunning, JobView, kindName } from "../serving/job-view.js";
import { facts, table, tableRow } from "../serving/lists.js";
import { metricLine, mainMetric, metricName, metricValue } from "../serving/metrics.js";

export default async function job({ root, params, signal, title }) {
  const found = await get(at`/v1/jobs/${params.id}`, { language }, { signal });
  title(`${kindName(found)} · ${found.vertical}`);
  const result = h("section", {});
  const remove = h(
    "button",
    { type: "button", class: "danger", hidden: isRunning(found), onclick: () => deleteJob(found) },
    t("jobs.delete"),
  );
  const view = new JobView(found, { signal, ended: (ended) => finished(ended).catch(() => {}) });
  root.append(
    h("header", {}, h("h1", {}, `${kindName(found)} · ${found.vertical}`), h("div", { class: "buttons" }, remove)),
    h(
      "p",
      { class: "muted" },
      t("jobs.asked", { at: moment(found.at) }),
      found.attempts > 1 && ` · ${t("jobs.attempts", { count: found.attempts })}`,
    ),
    view.element,
    result,
  );
  if (!isRunning(found)) await finished(found);

  async function finished(ended) {
    remove.hidden = false;
    replace(result, ended.state === "done" && made(ended));
    if (ended.state === "done" && ended.result?.model && ended.kind !== "predict") {
      const compared = await comparison(ended, signal);
      if (compared) result.append(compared);
    }
  }
}

async function deleteJob(found) {
  if (!(await confirm(t("jobs.delete.title"), t("jobs.delete.text"), t("jobs.delete")))) return;
  const done = await attempt(() => send("DELETE", at`/v1/jobs/${found.id}`).then(() => true));
  if (done) go(link("/jobs"));
}

/** Return what a job made, with links to its files. */
function made(ended) {
  const { result } = ended;
  const file = (name, text) =>
    h("a", { class: "button", href: at`/v1/jobs/${ended.id}/files/${name}`, target: "_blank", rel: "noopener" }, text);
  const links = [
    result.report && file("report.html", t("job.report")),
    result.output && h("a", { class: "button primary", href: at`/v1/jobs/${ended.id}/output`, download: result.output }, t("job.output")),
    result.dataset && !result.model && file("report.html", t("job.report.data")),
    result.project && h("a", { class: "button", href: link("/progress/{project}", { project: ended.vertical }) }, t("job.project")),
  ];
  const metrics = Object.entries(result.metrics ?? {}).filter(([, value]) => typeof value === "number");
  return [
    h("h2", { class: "later" }, t("job.made")),
    facts([
      [t("job.model"), result.model],
      [t("job.rows"), typeof result.rows === "number" ? String(result.rows) : null],
      [t("job.errors"), result.errors ? String(result.errors) : null],
      [t("job.labels"), typeof result.labels === "number" ? String(result.labels) : null],
      ...metrics.map(([name, value]) => [metricName(name), metricValue(value, name)]),
    ]),
    result.worse_than && h("p", { class: "notice warn" }, t("job.worse", { baseline: String(result.worse_than) })),
    h("div", { class: "buttons" }, links),
  ];
}

/** Return the versions of the vertical beside the one that a job made; null if they can't be seen. */
async function comparison(ended, signal) {
  if (!may("predict")) return null;
  let versions;
  try {
    ({ versions } = await get(at`/v1/verticals/${ended.vertical}/versions`, {}, { signal }));
  } catch {
    return h("p", { class: "hint" }, t("job.compare.later")); // the vertical has no live model yet
  }
  const rows = [...versions].reverse().map((version) => {
    const mine = version.model === ended.result.model;
    return tableRow(
      [
        h(
          "span",
          {},
          mine ? h("strong", {}, version.model) : version.model,
          " ",
          mine && h("span", { class: "badge accent" }, t("job.compare.this")),
        ),
        metricLine(mainMetric(version)),
        version.live ? h("span", { class: "badge good" }, t("serving.live")) : "",
      ],
      { class: mine ? "chosen" : null },
    );
  });
  return h(
    "section",
    { class: "later" },
    h("h2", {}, t("job.compare")),
    table(t("job.compare"), [t("job.model"), t("job.compare.metric"), t("jobs.state")], rows),
    h(
      "div",
      { class: "buttons later" },
      h("a", { class: "button primary", href: link("/models/{vertical}", { vertical: ended.vertical }) }, t("job.compare.deploy")),
    ),
  );
}
