/** What monitors found: the alerts and what people decided about them, the measurements over time, rules, silences and trainings. */

import { get } from "../api.js";
import { append, h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { showError } from "../messages.js";
import { language, t } from "../phrases.js";
import { keepQuery } from "../router.js";
import { may } from "../session.js";
import { every, PagedList } from "../serving/lists.js";
import { alertList, strip } from "../watching/alerts.js";
import { askRetraining, retrainingTable } from "../watching/retrainings.js";
import { ruleTable } from "../watching/rules.js";
import { monitorCards, redrawOnTheme } from "../watching/series.js";
import { askSilence, silenceList } from "../watching/silences.js";

const STATES = ["open", "acknowledged", "resolved", "false"];
/** Days whose measurements can be shown. */
const DAYS = [1, 7, 30, 90];
/** Milliseconds between two looks, and the number of alerts of a page. */
const LOOKING = 30_000;
const PAGE = 20;

export default async function watch({ root, query, signal }) {
  const monitoring = await get("/v1/monitoring", { language }, { signal });
  const names = monitoring.verticals.map((one) => one.vertical);
  const vertical = select(
    [["", t("watch.all")], ...names.map((name) => [name, name])],
    names.includes(query.vertical) ? query.vertical : names.length === 1 ? names[0] : "",
  );
  const state = select(
    [["", t("watch.state.all")], ...STATES.map((one) => [one, t(`watch.state.${one}`)])],
    STATES.includes(query.state) ? query.state : "",
  );
  const days = select(
    DAYS.map((one) => [String(one), t("watch.days", { count: one })]),
    DAYS.includes(Number(query.days)) ? query.days : "30",
  );
  const overview = h("div", {});
  const below = h("div", {});
  const alerts = new PagedList({
    load: (before) =>
      get("/v1/alerts", { vertical: vertical.value, state: state.value, before, limit: PAGE, language }, { signal }).then((found) => ({
        items: found.alerts,
        next: found.next,
      })),
    draw: (items) => [strip(items), alertList(items, load)],
    empty: () => h("p", {}, t(state.value || vertical.value ? "watch.none.chosen" : "watch.none")),
  });
  const silence = h("button", { type: "button", onclick: () => askSilence(names, vertical.value).then((done) => done && load()) });
  silence.textContent = t("watch.silence");
  const retrain = h("button", { type: "button", onclick: () => askRetraining(names, vertical.value).then((done) => done && load()) });
  retrain.textContent = t("watch.retrain");
  const buttons = [may("train") && names.length > 0 && retrain, may("admin") && silence];
  append(root, [
    h("header", {}, h("h1", {}, t("watch.title")), h("div", { class: "buttons" }, buttons)),
    !monitoring.watching && h("p", { class: "notice" }, t("watch.off")),
    h("div", { class: "fields" }, field(t("watch.vertical"), vertical), field(t("watch.state"), state), field(t("watch.time"), days)),
    overview,
    h("section", {}, h("h2", {}, t("watch.alerts")), alerts.element),
    below,
  ]);
  for (const one of [vertical, state, days]) {
    one.onchange = () => {
      keepQuery({ vertical: vertical.value, state: state.value, days: days.value });
      load().catch(showError);
    };
  }
  redrawOnTheme(root, signal);
  await load();
  every(LOOKING, () => (root.querySelector("details[open]") ? null : load()), signal);

  async function load() {
    const name = vertical.value;
    const [found, silences, retrainings, rules] = await Promise.all([
      get("/v1/monitoring", { language }, { signal }),
      get("/v1/silences", {}, { signal }),
      get("/v1/retrainings", { vertical: name, limit: 20, language }, { signal }),
      name ? get(`/v1/verticals/${encodeURIComponent(name)}/rules`, { language }, { signal }) : [],
      alerts.restart(),
    ]);
    if (name !== vertical.value) return; // a later choice replaced this one
    const shown = found.verticals.filter((one) => !name || one.vertical === name);
    const quiet = silences.filter((one) => !name || one.vertical === null || one.vertical === name);
    replace(overview, silenceList(quiet, load));
    replace(below, monitorCards(shown, Number(days.value)), ruleTable(rules), retrainingTable(retrainings.retrainings));
  }
}
