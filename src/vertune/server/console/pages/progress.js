/** How far a labelling project is: people, speed, agreement, the score by number of labels, and what to do next. */

import { at, download, get, send, withQuery } from "../api.js";
import { lineChart } from "../chart.js";
import { h, replace } from "../dom.js";
import { select } from "../forms.js";
import { partsOf } from "../labelling/parts.js";
import { findProject, projectTabs } from "../labelling/projects.js";
import { attempt, explained, show, showError } from "../messages.js";
import { duration, moment, number, percent, t } from "../phrases.js";
import { may } from "../session.js";

/** The format of exported labels that suits every task. */
const FORMAT = { name: "jsonl", about: "" };

export default async function progress({ root, params, signal, title, reload }) {
  const project = await findProject(params.project, signal);
  title(`${t("page.progress")} · ${project.name}`);
  const path = at`/v1/projects/${project.name}`;
  const [found, formats] = await Promise.all([
    get(`${path}/progress`, { agreement: false }, { signal }),
    partsOf("formats", signal),
  ]);
  const rank = () => start(`${path}/rank`, undefined, t("progress.ranking"));
  const train = () => start(`${path}/train`, {}, t("progress.training"));
  const buttons = h(
    "div",
    { class: "buttons" },
    h("button", { type: "button", onclick: reload }, t("progress.refresh")),
    may("train") && h("button", { type: "button", onclick: rank }, t("progress.rank")),
    may("train") && h("button", { type: "button", class: "primary", onclick: train }, t("progress.train")),
  );
  const cards = h("div", { class: "cards" }, figures(project, found));
  const persons = h("section", { class: "later" }, people(found, null));
  root.append(
    h("header", {}, h("h1", {}, project.name), buttons),
    projectTabs(project, "/progress/{project}"),
    found.advice ? h("p", { class: "notice" }, t(`progress.advice.${found.advice.replace(" ", "_")}`)) : "",
    cards,
    curve(project, found),
    persons,
    may("review") ? exporting(path, formats.length ? formats : [FORMAT]) : "",
  );
  compare(project, path, { cards, persons }, signal).catch((error) => signal.aborted || showError(error));
}

/** Add what takes longer, because many labels are compared: agreement, and how often each annotator is right. */
async function compare(project, path, { cards, persons }, signal) {
  const [found, quality] = await Promise.all([
    get(`${path}/progress`, {}, { signal }),
    may("train") ? get(`${path}/quality`, {}, { signal }) : null,
  ]);
  if (signal.aborted) return;
  if (found.agreement) replace(cards, figures(project, found));
  if (quality) replace(persons, people(found, quality));
}

/** Return the choice of a format, and the button that downloads the labels in it; what goes wrong is shown on the page. */
function exporting(path, formats) {
  const about = h("p", { class: "hint", lang: "en" });
  const choose = () => {
    about.textContent = formats.find(({ name }) => name === chosen.value).about;
  };
  const options = formats.map(({ name }) => [name, name]);
  const chosen = select(options, FORMAT.name, { onchange: choose, "aria-label": t("progress.export.format") });
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const fetchFile = async () => {
    problem.hidden = true;
    go.disabled = true;
    try {
      await download(withQuery(`${path}/export`, { format: chosen.value }));
    } catch (error) {
      problem.textContent = explained(error);
      problem.hidden = false;
    }
    go.disabled = false;
  };
  const go = h("button", { type: "button", onclick: fetchFile }, t("progress.export.go"));
  choose();
  return h(
    "section",
    { class: "later" },
    h("h2", {}, t("progress.export")),
    h("p", { class: "muted" }, t("progress.export.text")),
    h("div", { class: "row export" }, chosen, go),
    about,
    problem,
  );
}

async function start(path, body, text) {
  if (await attempt(() => send("POST", path, body))) show(text, { kind: "good" });
}

/** Return one card for each figure that there is. */
function figures(project, found) {
  const share = found.records ? found.labelled / found.records : 0;
  const cards = [
    card(t("progress.labelled"), `${number(found.labelled)} / ${number(found.records)}`, percent(share), share),
    card(t("progress.open"), number(found.open)),
    found.held ? card(t("progress.held"), number(found.held), t("progress.held.hint")) : null,
    found.decided ? card(t("progress.decided"), number(found.decided)) : null,
  ];
  const { agreement, needed, worth } = found;
  if (agreement) {
    const range = t("progress.interval", { low: number(agreement.low), high: number(agreement.high) });
    const count = t("progress.agreement.records", { count: agreement.records });
    cards.push(card(t("progress.agreement"), number(agreement.value), `${agreement.measure} · ${range} · ${count}`));
  }
  if (needed) {
    const high = needed.high === null ? t("progress.needed.unbounded") : number(needed.high);
    const range = t("progress.interval", { low: number(needed.low), high });
    cards.push(card(t("progress.needed", { score: number(needed.score, 3) }), number(needed.labels), range));
  }
  if (worth) {
    const range = t("progress.interval", { low: signed(worth.low), high: signed(worth.high) });
    cards.push(card(t("progress.worth", { count: worth.labels }), signed(worth.value), range));
  }
  return cards;
}

/** Return a change of the score as text. */
function signed(value) {
  return `${value >= 0 ? "+" : "−"}${number(Math.abs(value), 3)}`;
}

function card(name, value, hint = "", share = null) {
  return h(
    "div",
    { class: "card figure" },
    h("h2", {}, name),
    h("p", { class: "figure-value" }, value),
    share !== null && h("progress", { max: 1, value: share, "aria-label": name }),
    hint && h("p", { class: "hint" }, hint),
  );
}

function curve(project, found) {
  const points = found.curve.map(({ labels, score, low, high }) => ({ x: labels, y: score, low, high }));
  const title = h("h2", {}, t("progress.curve"));
  if (points.length < 2) return h("section", { class: "later" }, title, h("p", { class: "muted" }, t("progress.curve.none")));
  const score = (value) => (typeof value === "number" ? number(value, 3) : "–");
  const rows = points.map(({ x, y, low, high }) =>
    h("tr", {}, [number(x), score(y), score(low), score(high)].map((cell) => h("td", { class: "number" }, cell))),
  );
  const heads = [t("progress.labels"), found.curve.at(-1).metric ?? t("progress.score"), t("progress.low"), t("progress.high")];
  return h(
    "section",
    { class: "later" },
    title,
    lineChart({ points, name: t("progress.curve.text"), xName: t("progress.labels"), target: project.settings.target, format: score }),
    found.ranked_at && h("p", { class: "hint" }, t("progress.ranked", { at: moment(found.ranked_at) })),
    h(
      "details",
      {},
      h("summary", {}, t("progress.curve.table")),
      scrolling(t("progress.curve.table"), h("thead", {}, headRow(heads)), h("tbody", {}, rows)),
    ),
  );
}

/** Return a table that scrolls where it is too wide, by keyboard, too. */
function scrolling(name, ...parts) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, h("table", {}, parts));
}

function headRow(names, numbers = names) {
  return h("tr", {}, names.map((name) => h("th", { scope: "col", class: numbers.includes(name) ? "number" : null }, name)));
}

/** Return a table with a row for each annotator and one for all; `quality` is null as long as it is not known. */
function people(found, quality) {
  const known = new Map((quality?.annotators ?? []).map((one) => [one.name, one]));
  const names = [
    t("progress.person"), t("progress.done"), t("progress.skipped"), t("progress.rejected"), t("progress.time"), t("progress.speed"),
  ];
  if (quality) names.push(t("progress.accuracy"));
  const sum = (key) => found.annotators.reduce((total, one) => total + (one[key] ?? 0), 0);
  const all = { name: t("progress.all"), done: sum("done"), skipped: sum("skipped"), rejected: sum("rejected"), per_hour: sum("per_hour") };
  const share = (value) => (value === null || value === undefined ? "–" : percent(value));
  const row = (one, tag) =>
    h(
      "tr",
      {},
      h(tag, tag === "th" ? { scope: "row" } : {}, one.name),
      [
        number(one.done), number(one.skipped), number(one.rejected), one.seconds ? duration(one.seconds) : "–",
        one.per_hour ? number(one.per_hour, 0) : "–",
        ...(quality ? [share(known.get(one.name)?.accuracy)] : []),
      ].map((cell) => h("td", { class: "number" }, cell)),
    );
  return [
    h("h2", {}, t("progress.people")),
    found.annotators.length
      ? scrolling(
          t("progress.people"),
          h("thead", {}, headRow(names, names.slice(1))),
          h("tbody", {}, found.annotators.map((one) => row(one, "td"))),
          found.annotators.length > 1 && h("tfoot", {}, row(all, "th")),
        )
      : h("p", { class: "muted" }, t("progress.people.none")),
  ];
}
