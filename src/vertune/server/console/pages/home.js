/** The start page: what needs attention, what runs, what is live and how good it is, as far as the person may see it. */

import { at, get } from "../api.js";
import { h, replace } from "../dom.js";
import { language, moment, t } from "../phrases.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { kindName, stateBadge } from "../serving/job-view.js";
import { every } from "../serving/lists.js";
import { mainMetric, metricLine, verticalBadge } from "../serving/metrics.js";

/** Milliseconds between two looks. */
const LOOKING = 10_000;
/** Jobs that failed longer ago are not shown, in milliseconds. */
const RECENT = 3 * 24 * 3_600_000;
/** Most projects whose reviews are counted. */
const PROJECTS = 8;
/** Most open alerts that are shown. */
const ALERTS = 8;
/** Most verticals whose metrics are shown. */
const MEASURED = 24;
/** The versions of verticals, which are asked for again when another model is live. */
const known = new Map();

export default async function home({ root, signal }) {
  const content = h("div", {});
  root.append(h("header", {}, h("h1", {}, t("home.title"))), content);
  const show = async () => {
    const found = await everything(signal);
    if (!content.contains(document.activeElement)) replace(content, sections(found));
  };
  replace(content, sections(await everything(signal)));
  every(LOOKING, show, signal);
}

/** Ask for all that the person may see; what can't be asked for is left out, with the error. */
async function everything(signal) {
  const errors = [];
  const ask = (allowed, path, query, otherwise) =>
    allowed ? get(path, query, { signal }).catch((error) => keep(error, otherwise)) : Promise.resolve(otherwise);
  const keep = (error, otherwise) => {
    if (error.name === "AbortError") throw error;
    if (error.status !== 404 && error.status !== 422) errors.push(error); // 422: the server runs no jobs, or has no database
    return otherwise;
  };
  const jobs = { jobs: [] };
  const [{ verticals }, queued, running, failed, { projects }, { alerts }] = await Promise.all([
    ask(may("predict"), "/v1/verticals", { language }, { verticals: [] }),
    ask(may("train"), "/v1/jobs", { state: "queued", limit: 10 }, jobs),
    ask(may("train"), "/v1/jobs", { state: "running", limit: 10 }, jobs),
    ask(may("train"), "/v1/jobs", { state: "failed", limit: 5, language }, jobs),
    ask(may("label"), "/v1/projects", {}, { projects: [] }),
    ask(may("predict"), "/v1/alerts", { state: "open", limit: ALERTS, language }, { alerts: [] }),
  ]);
  const open = projects.filter((project) => project.state === "open");
  const [versions, reviews] = await Promise.all([
    Promise.all(verticals.map((one, place) => (place < MEASURED ? versionsOf(one, ask) : { versions: [] }))),
    Promise.all(
      open
        .slice(0, PROJECTS)
        .map((one) => ask(may("review"), at`/v1/projects/${one.name}/reviews`, { kind: "disagreement", limit: 50 }, { records: [] })),
    ),
  ]);
  const recent = failed.jobs.filter((job) => Date.now() - new Date(job.at) < RECENT);
  return {
    verticals,
    projects: open,
    jobs: [...running.jobs, ...queued.jobs],
    failed: recent,
    versions,
    reviews,
    alerts,
    errors,
  };
}

async function versionsOf(vertical, ask) {
  const key = `${vertical.name} ${vertical.model ?? vertical.coming?.model}`;
  const found = known.get(key) ?? (await ask(true, at`/v1/verticals/${vertical.name}/versions`, {}, { versions: [] }));
  if (found.versions.length) known.set(key, found);
  return found;
}

function sections(found) {
  const troubles = attention(found);
  const { verticals, jobs, projects } = found;
  if (!verticals.length && !jobs.length && !projects.length && !troubles.length) return welcome();
  return [
    troubles.length > 0
      ? h("section", {}, h("h2", {}, t("home.attention")), h("ul", { class: "attention" }, troubles))
      : h("p", { class: "muted" }, t("home.fine")),
    jobs.length > 0 && h("section", {}, h("h2", {}, t("home.running")), h("div", { class: "cards" }, jobs.map(jobCard))),
    verticals.length > 0 &&
      h(
        "section",
        {},
        h("h2", {}, t("home.live")),
        h(
          "div",
          { class: "cards" },
          verticals.map((one, place) => verticalCard(one, found.versions[place])),
        ),
      ),
    may("label") &&
      projects.length > 0 &&
      h("section", {}, h("h2", {}, t("home.projects")), h("div", { class: "cards" }, projects.map(projectCard))),
    may("train") &&
      h(
        "section",
        { class: "buttons later" },
        h("a", { class: "button", href: link("/data") }, t("home.upload")),
        h("a", { class: "button", href: link("/train") }, t("home.train")),
      ),
  ];
}

function welcome() {
  if (!may("train")) return h("div", { class: "empty" }, h("p", {}, t("home.nothing")));
  const step = (text, address, name) => h("li", {}, h("p", {}, text), h("a", { class: "button", href: link(address) }, name));
  return h(
    "section",
    {},
    h("p", {}, t("home.welcome")),
    h(
      "ol",
      { class: "steps" },
      step(t("home.step.data"), "/data", t("home.upload")),
      may("label") && step(t("home.step.label"), "/projects", t("page.projects")),
      step(t("home.step.train"), "/train", t("home.train")),
    ),
  );
}

/** Return what needs a person, the worst first. */
function attention({ verticals, failed, projects, reviews, alerts, errors }) {
  const item = (kind, text, address, name, why = "") =>
    h(
      "li",
      { class: `notice ${kind}` },
      h("p", {}, text, why && h("span", { class: "hint block" }, why)),
      address && h("a", { href: address }, name),
    );
  const modelPage = (name) => link("/models/{vertical}", { vertical: name });
  const waiting = verticals.filter((one) => one.coming && !one.fault);
  const disputed = projects.map((project, place) => [project, reviews[place]]).filter(([, page]) => page?.records.length);
  return [
    ...errors.map((error) => item("bad", t("home.error"), null, "", error.message)),
    ...verticals
      .filter((one) => one.fault)
      .map((one) => item("bad", t("home.unhealthy", { name: one.name }), modelPage(one.name), t("home.look"), one.fault)),
    ...alerts.map((one) => {
      const address = link("/watch", {}, { vertical: one.vertical, state: "open" });
      const text = t("home.alert", { name: one.vertical, rule: one.rule, since: moment(one.began) });
      return item(one.severity === "critical" ? "bad" : "warn", text, address, t("home.look"), one.why);
    }),
    ...waiting.map((one) => {
      const bad = ["failed", "damaged"].includes(one.coming.state);
      const text = t("home.notready", { name: one.name, state: t(`serving.vertical.${one.coming.state}`) });
      return item(bad ? "bad" : "warn", text, modelPage(one.name), t("home.look"), one.coming.why);
    }),
    ...failed.map((job) =>
      item(
        "bad",
        t("home.failed", { kind: kindName(job), vertical: job.vertical, at: moment(job.at) }),
        link("/jobs/{id}", { id: job.id }),
        t("home.look"),
        job.why,
      ),
    ),
    ...verticals
      .filter((one) => one.candidate)
      .map((one) => item("warn", t("home.rollout", { name: one.name, model: one.candidate }), modelPage(one.name), t("home.look"))),
    ...disputed.map(([project, page]) => {
      const count = page.records.length;
      const text =
        page.next === null || page.next === undefined
          ? t("home.disputed", { count, name: project.name })
          : t("home.disputed.more", { count, name: project.name });
      return item("warn", text, link("/review/{project}", { project: project.name }), t("page.review"));
    }),
  ];
}

function jobCard(job) {
  return h(
    "article",
    { class: "card" },
    h(
      "div",
      { class: "row between" },
      h("h3", {}, h("a", { href: link("/jobs/{id}", { id: job.id }) }, `${kindName(job)} · ${job.vertical}`)),
      stateBadge(job),
    ),
    h("p", { class: "muted" }, job.started ? t("home.started", { at: moment(job.started) }) : t("job.waits")),
  );
}

function verticalCard(vertical, { versions }) {
  const live = versions.find((version) => version.model === (vertical.model ?? vertical.coming?.model));
  const params = { vertical: vertical.name };
  return h(
    "article",
    { class: "card" },
    h(
      "div",
      { class: "row between" },
      h("h3", {}, h("a", { href: link("/models/{vertical}", params) }, vertical.name)),
      verticalBadge(vertical),
    ),
    h("p", {}, metricLine(live && mainMetric(live))),
    h(
      "div",
      { class: "buttons" },
      vertical.ready && h("a", { class: "button", href: link("/try/{vertical}", params) }, t("models.try")),
      h("a", { class: "button", href: link("/traffic", {}, params) }, t("models.traffic")),
    ),
  );
}

function projectCard(project) {
  const left = Math.max(0, project.records - project.labelled);
  return h(
    "article",
    { class: "card" },
    h("h3", {}, project.name),
    h("progress", {
      max: Math.max(1, project.records),
      value: project.labelled,
      "aria-label": t("home.project.progress", { name: project.name }),
    }),
    h("p", { class: "muted" }, left ? t("home.project.left", { count: left }) : t("home.project.done")),
    h(
      "div",
      { class: "buttons" },
      h("a", { class: "button primary", href: link("/label/{project}", { project: project.name }) }, t("page.label")),
    ),
  );
}
