/** Alerts as a picture over time and as a list, with what a person can decide about each. */

import { at, get, send } from "../api.js";
import { h, svg } from "../dom.js";
import { field } from "../forms.js";
import { attempt, dialog, show } from "../messages.js";
import { language, moment, t } from "../phrases.js";
import { may } from "../session.js";
import { facts, table } from "../serving/lists.js";

/** The colour of each state. */
const TONES = { open: "bad", acknowledged: "warn", resolved: "good", false: "" };
/** Size of the picture in its own units, which are about pixels. */
const WIDE = 900;
const NARROW = 340;
const ROW = 18;
/** Most rows of the picture. */
const MOST = 12;

/** Return a picture of alerts: a bar for each, from its beginning to its end, a row for each rule of a vertical. */
export function strip(alerts) {
  const width = innerWidth < 700 ? NARROW : WIDE;
  const begin = Math.min(...alerts.map((one) => Date.parse(one.began)));
  const end = Date.now();
  const x = (time) => ((time - begin) / Math.max(1, end - begin)) * width;
  const rows = [...new Set(alerts.map((one) => `${one.vertical} · ${one.rule}`))].slice(0, MOST);
  const bars = alerts.map((one) => {
    const row = rows.indexOf(`${one.vertical} · ${one.rule}`);
    if (row < 0) return null;
    const from = x(Date.parse(one.began));
    const to = x(one.ended ? Date.parse(one.ended) : end);
    const about = `${one.vertical} · ${one.rule} · ${t(`watch.state.${one.state}`)} · ${moment(one.began)}`;
    const place = { x: from, y: row * 2 * ROW + ROW, width: Math.max(4, to - from), height: ROW - 6, rx: 3 };
    return svg("rect", { class: `alert-bar ${one.state}`, ...place }, svg("title", {}, about));
  });
  const texts = rows.map((name, row) => svg("text", { x: 0, y: row * 2 * ROW + ROW - 5 }, name));
  const height = rows.length * 2 * ROW + ROW;
  const axis = [
    svg("text", { x: 0, y: height - 4 }, moment(new Date(begin).toISOString())),
    svg("text", { x: width, y: height - 4, "text-anchor": "end" }, t("watch.now")),
  ];
  const about = { class: "alert-strip", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("watch.strip") };
  return h("figure", { class: "card" }, svg("svg", about, texts, bars, axis));
}

/** Return the list of alerts; `changed` is called after a decision. */
export function alertList(alerts, changed) {
  return h(
    "ol",
    { class: "timeline" },
    alerts.map((one) => entry(one, changed)),
  );
}

function entry(alert, changed) {
  const content = h("div", {});
  const more = h("details", {}, h("summary", {}, t("watch.details")), content);
  more.addEventListener("toggle", () => more.open && !content.children.length && attempt(() => fill(content, alert)));
  const decided = alert.actor && t("watch.decided", { who: alert.actor });
  return h(
    "li",
    { class: `card ${TONES[alert.state]}` },
    h(
      "div",
      { class: "alert-head" },
      h("strong", {}, `${alert.vertical} · ${alert.rule}`),
      h("span", { class: `badge ${TONES[alert.state]}` }, t(`watch.state.${alert.state}`)),
      h("span", { class: "badge" }, t(`watch.severity.${alert.severity}`)),
    ),
    h("p", {}, alert.why),
    h("p", { class: "muted" }, lasting(alert), decided && ` ${decided}`, alert.comment && ` “${alert.comment}”`),
    more,
    may("feedback") && buttons(alert, changed),
  );
}

function lasting({ began, ended }) {
  const values = { began: moment(began), ended: ended && moment(ended) };
  return ended ? t("watch.lasted", values) : t("watch.since", values);
}

function buttons(alert, changed) {
  const shown = { acknowledge: alert.state === "open", false: alert.state !== "false" };
  return h(
    "div",
    { class: "buttons" },
    Object.keys(shown).map(
      (verdict) =>
        shown[verdict] && h("button", { type: "button", onclick: () => decide(alert, verdict, changed) }, t(`watch.${verdict}`)),
    ),
  );
}

/** Ask for a comment, and send a verdict on an alert. */
async function decide(alert, verdict, changed) {
  const comment = h("input", { maxlength: 1000, autocomplete: "off" });
  const content = [h("p", {}, t(`watch.${verdict}.text`)), field(t("watch.comment"), comment)];
  const path = verdict === "false" ? at`/v1/alerts/${alert.id}/false` : at`/v1/alerts/${alert.id}/acknowledge`;
  const act = () => attempt(() => send("POST", path, { comment: comment.value.trim() }));
  if (!(await dialog(t(`watch.${verdict}`), content, [{ label: t(`watch.${verdict}`), value: act }]))) return;
  show(t("watch.done"), { kind: "good" });
  await attempt(changed);
}

async function fill(content, alert) {
  const found = await get(at`/v1/alerts/${alert.id}`, { language });
  const heads = Object.keys(found.evidence[0] ?? {});
  content.append(
    facts([
      [t("watch.measured"), `${found.title}: ${found.shown}`],
      [t("watch.monitor"), found.monitor],
      [t("watch.began"), moment(found.began)],
    ]),
    h("h3", {}, t("watch.todo")),
    ...found.advice.map((sentence) => h("p", {}, sentence)),
  );
  if (heads.length) {
    const rows = found.evidence.map((row) => heads.map((name) => cell(row[name])));
    content.append(h("h3", {}, t("watch.evidence")), table(t("watch.evidence"), heads, rows));
  }
  if (found.deliveries?.length) {
    const rows = found.deliveries.map((one) => [one.channel, t(`watch.delivery.${one.state}`), String(one.attempts), one.error ?? ""]);
    const titles = [t("watch.channel"), t("watch.delivery"), { text: t("watch.attempts"), number: true }, t("watch.error")];
    content.append(h("h3", {}, t("watch.deliveries")), table(t("watch.deliveries"), titles, rows));
  }
}

function cell(value) {
  return typeof value === "number" ? String(Math.round(value * 1000) / 1000) : String(value ?? "");
}
