/** One turn of a conversation as people at the desk see it: who wrote what, and why the machine replied so. Data never become HTML. */

import { h } from "../dom.js";
import { number, percent, t, hasPhrase, moment } from "../phrases.js";

const TONES = { answer: "good", clarify: "accent", ask: "accent", act: "accent", handoff: "warn", refuse: "warn" };

/**
 * Return the element of a turn. `choose` is called with the choice of a button that is pressed, if buttons work; `tools` are further
 * elements, such as one that corrects the turn.
 */
export function turnView(turn, { choose = null, tools = [] } = {}) {
  const about = turn.author === "bot" ? reasoning(turn) : null;
  return h(
    "li",
    { class: `turn ${turn.author}` },
    h("p", { class: "turn-author" }, t(`turn.${turn.author}`), turn.at && h("time", { datetime: turn.at }, moment(turn.at)), tools),
    wording(turn),
    (turn.attachments ?? []).map(attached),
    turn.choices?.length > 0 && h("div", { class: "buttons" }, turn.choices.map((one) => choice(one, choose))),
    turn.label && h("p", {}, h("span", { class: "badge good" }, t("turn.label", { name: labelName(turn.label) }))),
    turn.result && raw(turn.result),
    about,
  );
}

/** Return what was said, or what happened instead. */
function wording(turn) {
  if (turn.text) return h("p", { class: "turn-text" }, turn.text);
  const happened = turn.event ?? turn.action;
  const known = happened && hasPhrase(`turn.event.${happened}`);
  return h("p", { class: "muted" }, known ? t(`turn.event.${happened}`) : t("turn.wordless"));
}

function labelName({ intent, entry }) {
  return intent ?? entry?.question ?? "–";
}

function raw(result) {
  return h("details", {}, h("summary", {}, t("turn.result")), h("pre", { tabindex: "0" }, JSON.stringify(result, null, 2)));
}

function choice(one, choose) {
  if (!choose) return h("span", { class: "badge" }, one.title);
  return h("button", { type: "button", onclick: () => choose(one) }, one.title);
}

/** Return a link to what is attached; pictures are links, too, because the console loads nothing from elsewhere. */
function attached({ title, url }) {
  if (!/^(https:\/\/|\/(?!\/))/.test(url)) return h("p", {}, title);
  return h("p", {}, h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, title));
}

/** Return why the machine replied so: what it did, how sure it is, its reasons, and what the reply stands on. */
function reasoning(turn) {
  const badges = h(
    "p",
    { class: "badges" },
    turn.action && h("span", { class: `badge ${TONES[turn.action] ?? ""}` }, t(`action-of.${turn.action}`)),
    typeof turn.confidence === "number" && h("span", { class: "badge" }, t("turn.confidence", { share: percent(turn.confidence) })),
    turn.intent && h("span", { class: "badge" }, turn.intent),
    (turn.reasons ?? []).map((one) => h("span", { class: "badge warn" }, reasonName(one))),
  );
  const evidence = turn.evidence ?? [];
  const slots = Object.entries(turn.slots ?? {});
  if (!evidence.length && !slots.length) return badges;
  return [
    badges,
    h(
      "details",
      { class: "evidence" },
      h("summary", {}, t("turn.evidence")),
      slots.length > 0 && slotList(slots),
      h("ul", {}, evidence.map(source)),
    ),
  ];
}

/** Return known details as a list of definitions. */
export function slotList(slots) {
  const text = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));
  return h("dl", { class: "facts" }, slots.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, text(value)))));
}

function source({ kind, id, title, text, score }) {
  return h(
    "li",
    {},
    h("span", { class: "badge" }, t(`evidence.${kind}`)),
    " ",
    title || id,
    typeof score === "number" && h("span", { class: "muted" }, ` ${number(score, 3)}`),
    text && h("p", { class: "hint clamp" }, text),
  );
}

/** Return a reason in words; those of plugins have their own names. */
export function reasonName(name) {
  const key = `reason.${name}`;
  return hasPhrase(key) ? t(`reason.${name}`) : name;
}
