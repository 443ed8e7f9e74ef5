/** One vertical: its versions, which one is live, the comparison with a candidate, and how both came to be. */

import { at, get, send } from "../api.js";
import { h } from "../dom.js";
import { markdown } from "../labelling/markdown.js";
import { attempt, confirm, dialog, show } from "../messages.js";
import { bytes, hasPhrase, language, listed, moment, t } from "../phrases.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { every, facts, table, tableRow } from "../serving/lists.js";
import { mainMetric, metricLine, metricName, metricValue, taskName, verticalBadge } from "../serving/metrics.js";
import { askDeployment, askReason, RolloutCard } from "../serving/rollout.js";
import { startCompression, startEvaluation, startPreparation } from "../serving/model-jobs.js";

/** Milliseconds between two looks at a vertical that is not ready, and at a rollout. */
const LOOKING = 4000;
/** Characters of a list of labels from which it is folded. */
const MOST = 80;

export default async function model({ root, params, signal, title, reload }) {
  const name = params.vertical;
  title(name);
  const paths = [at`/v1/verticals/${name}`, at`/v1/verticals/${name}/versions`, at`/v1/verticals/${name}/history`];
  const [vertical, { versions }, history] = await Promise.all(
    paths.map((path, place) =>
      get(path, place === 1 ? {} : { language }, { signal }).catch((error) =>
        place === 2 && error.status === 422 ? { versions: [] } : Promise.reject(error),
      ),
    ),
  );
  const live = versions.find((one) => one.model === (vertical.model ?? vertical.coming?.model));
  const rollout = new RolloutCard(name, { signal, changed: reload });
  root.append(
    h("header", {}, h("h1", {}, name), h("div", { class: "buttons" }, buttons(vertical, history.versions, reload))),
    overview(vertical, live),
    rollout.element,
    h("section", { class: "later" }, h("h2", {}, t("model.versions")), versionTable(vertical, versions, reload)),
    h("section", { class: "later" }, h("h2", {}, t("model.history")), historyTable(history.versions)),
  );
  await rollout.load();
  every(LOOKING, () => rollout.load(), signal);
  if (vertical.coming) {
    every(
      LOOKING,
      async () => {
        const now = await get(paths[0], { language }, { signal });
        if (now.coming?.state !== vertical.coming.state || now.model !== vertical.model) reload();
      },
      signal,
    );
  }
}

function buttons(vertical, history, reload) {
  const params = { vertical: vertical.name };
  return [
    vertical.ready && h("a", { class: "button", href: link("/try/{vertical}", params) }, t("models.try")),
    h("a", { class: "button", href: link("/traffic", {}, params) }, t("models.traffic")),
    may("admin") &&
      history.length > 0 &&
      h("button", { type: "button", class: "danger", onclick: () => rollBack(vertical, reload) }, t("model.rollback")),
    may("admin") && h("button", { type: "button", class: "danger", onclick: () => retire(vertical) }, t("model.retire")),
  ];
}

async function rollBack(vertical, reload) {
  const reason = await askReason(
    t("model.rollback.title", { name: vertical.name }),
    t("model.rollback.text"),
    t("model.rollback"),
    "danger",
  );
  if (reason === null) return;
  const done = await attempt(() => send("POST", at`/v1/verticals/${vertical.name}/rollback`, { reason }));
  if (done) {
    show(t("model.rolledback", { model: done.live ?? "–" }));
    reload();
  }
}

async function retire(vertical) {
  if (!(await confirm(t("model.retire.title", { name: vertical.name }), t("model.retire.text"), t("model.retire")))) return;
  const done = await attempt(() => send("DELETE", at`/v1/verticals/${vertical.name}`).then(() => true));
  if (!done) return;
  const run = () => attempt(() => send("PUT", at`/v1/verticals/${vertical.name}`, { model: vertical.model }));
  show(t("model.retired", { name: vertical.name }), vertical.model ? { action: { label: t("action.undo"), run } } : {});
  location.hash = link("/models");
}

function overview(vertical, live) {
  const { coming } = vertical;
  return h(
    "section",
    { class: "card" },
    h("div", { class: "row between" }, h("div", {}, metricLine(live && mainMetric(live))), verticalBadge(vertical)),
    (vertical.fault || coming?.why) && h("p", { class: "notice bad" }, vertical.fault || coming.why),
    coming && h("p", { class: "notice warn" }, t("model.coming", { model: coming.model, state: t(`serving.vertical.${coming.state}`) })),
    facts([
      [t("model.live"), vertical.model],
      [t("data.task"), vertical.task && taskName(vertical.task)],
      [t("model.labels"), vertical.labels && labelsOf(vertical.labels)],
      [t("model.fields"), vertical.fields && listed(Object.keys(vertical.fields))],
      [
        t("model.precision"),
        vertical.precision && h("span", {}, vertical.precision, vertical.why && h("span", { class: "hint block" }, vertical.why)),
      ],
      [t("model.memory"), vertical.shared === null ? null : vertical.shared ? t("models.shared") : t("model.alone")],
    ]),
  );
}

function labelsOf(labels) {
  const text = listed(labels);
  if (text.length <= MOST) return text;
  return h("details", {}, h("summary", {}, t("models.labels", { count: labels.length })), text);
}

function versionTable(vertical, versions, reload) {
  if (!versions.length) return h("div", { class: "empty" }, h("p", {}, t("model.versions.none")));
  const heads = [t("job.model"), t("job.compare.metric"), t("model.made"), t("jobs.actions")];
  return table(
    t("model.versions"),
    heads,
    [...versions].reverse().map((version) => versionRow(vertical, version, reload)),
  );
}

function versionRow(vertical, version, reload) {
  const { model } = version;
  const live = version.live || (!vertical.model && vertical.coming?.model === model);
  const split = (name) => (hasPhrase(`serving.split.${name}`) ? t(`serving.split.${name}`) : name);
  const others = Object.entries(version.metrics).map(([name, metrics]) => [
    h("h3", {}, split(name)),
    facts(
      Object.entries(metrics).map(([metric, value]) => [
        metricName(metric),
        withInterval(metric, value, version.intervals?.[name]?.[metric]),
      ]),
    ),
  ]);
  const press = (text, about, run) =>
    h("button", { type: "button", class: "plain", "aria-label": `${about}: ${model}`, onclick: run }, text);
  const report = at`/v1/verticals/${vertical.name}/versions/${model}/report`;
  return tableRow(
    [
      h("div", {}, h("strong", {}, model), " ", live && h("span", { class: "badge good" }, t("serving.live"))),
      h("div", {}, metricLine(mainMetric(version)), others.length > 0 && h("details", {}, h("summary", {}, t("model.metrics")), others)),
      h(
        "div",
        {},
        version.created && moment(version.created),
        h(
          "p",
          { class: "hint" },
          [version.method, version.compressed && t("model.compressed"), version.bytes && bytes(version.bytes)].filter(Boolean).join(" · "),
        ),
      ),
      h(
        "div",
        { class: "buttons" },
        press(t("model.card"), t("model.card"), () => showCard(vertical.name, model)),
        may("admin") &&
          version.report &&
          h("a", { href: report, target: "_blank", rel: "noopener", "aria-label": `${t("job.report")}: ${model}` }, t("job.report")),
        may("admin") &&
          !live &&
          press(t("model.deploy"), t("model.deploy"), async () => (await askDeployment(vertical, version)) && reload()),
        may("train") && !version.prepared && press(t("model.prepare"), t("model.prepare"), () => startPreparation(model)),
        may("train") && press(t("model.evaluate"), t("model.evaluate"), () => startEvaluation(model)),
        may("train") && !version.compressed && press(t("model.compress"), t("model.compress"), () => startCompression(model)),
      ),
    ],
    { class: live ? "chosen" : null },
  );
}

function withInterval(name, value, interval) {
  const ends = interval
    ? ` (${t("serving.metric.interval", { low: metricValue(interval[0], name), high: metricValue(interval[1], name) })})`
    : "";
  return `${metricValue(value, name)}${ends}`;
}

async function showCard(vertical, model) {
  const found = await attempt(() => get(at`/v1/verticals/${vertical}/versions/${model}/card`));
  if (!found) return;
  const content = h(
    "div",
    { class: "model-card", tabindex: "-1", autofocus: true },
    found.card ? cardParts(found.card) : h("p", {}, t("model.card.none")),
  );
  const closed = dialog(model, content, [], { wide: true });
  content.closest("dialog").scrollTop = 0;
  await closed;
}

/** Return the text of a card as elements, its tables included. */
function cardParts(text) {
  const body = text.replace(/^---\n[\s\S]*?\n---\n/, "").replace(/^# .*\n/m, "");
  return body.split(/((?:^\|.*\|[ ]*\n?)+)/m).map((part) => (part.startsWith("|") ? cardTable(part) : markdown(part)));
}

function cardTable(text) {
  const cells = (line) =>
    line
      .trim()
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim());
  const [heads, , ...rows] = text.trim().split("\n");
  return table(t("model.card"), cells(heads), rows.map(cells));
}

function historyTable(versions) {
  if (!versions.length) return h("p", { class: "muted" }, t("model.history.none"));
  const rows = versions.map((one) => [
    moment(one.at),
    hasPhrase(`model.action.${one.action.replace(" ", "-")}`) ? t(`model.action.${one.action.replace(" ", "-")}`) : one.action,
    one.model,
    one.actor,
    one.reason || "–",
  ]);
  return table(t("model.history"), [t("jobs.at"), t("model.action"), t("job.model"), t("model.actor"), t("model.reason")], rows);
}
