/** Asks how similar records must be to one record, with a slider that counts them. */

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { attempt, dialog } from "../messages.js";
import { percent, t } from "../phrases.js";
import { recordView } from "./record-view.js";

/** The most similar records that are fetched, and those that are shown. */
const FETCHED = 200;
const SHOWN = 6;
/** The least similarity that can be chosen, and the one to begin with. */
const LEAST = 0.5;
const START = 0.9;

/** Return the least similarity that a person chooses for records like this one; null if there is none to choose. */
export async function askSimilar(path, shape, record, stop) {
  const query = { record: record.record, least: LEAST, limit: FETCHED };
  const found = await attempt(() => get(`${path}/similar`, query, { signal: stop }));
  if (!found) return null;
  const { records } = found;
  const slider = h("input", { type: "range", min: LEAST, max: 1, step: 0.01, value: START, oninput: () => count(), class: "slider" });
  const told = h("output", { role: "status" });
  const list = h("ol", { class: "similar" });
  const count = () => {
    const least = Number(slider.value);
    const near = records.filter((one) => one.similarity >= least);
    const more = near.length === records.length && records.length >= FETCHED ? "+" : "";
    told.textContent = `${t("similar.count", { count: near.length })}${more} (≥ ${percent(least)})`;
    const edge = near.slice(-SHOWN).reverse(); // the least similar ones decide where the limit should be
    replace(list, edge.map((one) => h("li", {}, h("span", { class: "badge" }, percent(one.similarity)), recordView(shape, one.fields))));
  };
  count();
  const content = [
    h("div", { class: "notice" }, recordView(shape, record.fields)),
    h("label", { class: "field" }, h("span", {}, t("similar.least")), slider),
    told,
    h("h3", {}, t("similar.edge")),
    list,
  ];
  const button = { label: t("similar.go"), value: () => Number(slider.value) };
  return dialog(t("similar.title"), content, [button], { wide: true });
}
