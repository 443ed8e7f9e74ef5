/** What monitors measured: a card for each, with a picture over time that the server draws, in the theme of the console. */

import { at, get, withQuery } from "../api.js";
import { h, replace } from "../dom.js";
import { attempt } from "../messages.js";
import { language, moment, number, t } from "../phrases.js";
import { table } from "../serving/lists.js";

const TONES = { changed: "bad", quiet: "good", unknown: "" };
/** Widths of pictures in pixels, for narrow and wide windows. */
const NARROW = 300;
const WIDE = 460;

/** Return the cards of the monitors of some verticals. */
export function monitorCards(verticals, days) {
  const known = verticals.filter((one) => one.monitors.length);
  if (!known.length) return h("section", {}, h("h2", {}, t("watch.monitors")), h("p", { class: "muted" }, t("watch.monitors.none")));
  return known.map((one) =>
    h(
      "section",
      { class: "later" },
      h("h2", {}, t("watch.monitors.of", { vertical: one.vertical })),
      one.windows > 0 && h("p", { class: "muted" }, t("watch.expected", { windows: one.windows, count: few(one.false_alarms) })),
      h(
        "div",
        { class: "charts" },
        one.monitors.map((monitor) => card(one.vertical, monitor, days)),
      ),
    ),
  );
}

/** Return a small number with two digits. */
function few(value) {
  return value < 0.001 ? `< ${number(0.001, 3)}` : number(Number(value.toPrecision(2)), 3);
}

function card(vertical, { name, title, latest }, days) {
  const text = t("watch.latest", { shown: latest.shown, when: moment(latest.window_end), count: latest.n });
  const picture = h("img", { class: "series", loading: "lazy", alt: `${title}: ${latest.shown}` });
  picture.dataset.path = at`/v1/verticals/${vertical}/monitors/${name}/chart`;
  picture.dataset.days = String(days);
  picture.onerror = () => (picture.hidden = true); // nothing was measured in this time
  draw(picture);
  const content = h("div", {});
  const figures = h("details", {}, h("summary", {}, t("serving.chart.table")), content);
  figures.addEventListener("toggle", () => figures.open && !content.children.length && attempt(() => fill(content, vertical, name, days)));
  const badge = h("span", { class: `badge ${TONES[latest.verdict]}` }, t(`watch.verdict.${latest.verdict}`));
  return h(
    "figure",
    { class: "card" },
    h("figcaption", {}, h("h3", {}, title, " ", badge)),
    h("p", { class: "muted" }, text),
    picture,
    h("p", { class: "hint" }, latest.why),
    figures,
  );
}

async function fill(content, vertical, name, days) {
  const found = await get(at`/v1/verticals/${vertical}/monitors/${name}`, { days, language });
  const numbers = ["watch.value", "watch.requests"].map((key) => ({ text: t(key), number: true }));
  const heads = [t("watch.window"), ...numbers, t("watch.verdict")];
  const rows = found.points
    .toReversed()
    .map((one) => [moment(one.window_end), one.shown, number(one.n), t(`watch.verdict.${one.verdict}`)]);
  replace(content, table(found.title, heads, rows));
}

function draw(picture) {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const width = innerWidth < 700 ? NARROW : WIDE;
  picture.hidden = false;
  picture.src = withQuery(picture.dataset.path, { days: picture.dataset.days, width, theme: dark ? "dark" : "light", language });
}

/** Draw the pictures below an element again when the theme changes. */
export function redrawOnTheme(root, signal) {
  const again = () => root.querySelectorAll("img.series").forEach(draw);
  const observer = new MutationObserver(again);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  signal.addEventListener("abort", () => observer.disconnect(), { once: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again, { signal });
}
