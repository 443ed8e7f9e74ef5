/** Trainings on what was learnt since, and how far each has come. */

import { h } from "../dom.js";
import { moment, t } from "../phrases.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { table } from "../serving/lists.js";

const TONES = { done: "good", refused: "warn", failed: "bad" };

/** Return the table of retrainings, newest first; nothing without any. */
export function retrainingTable(retrainings) {
  if (!retrainings.length) return null;
  const heads = [t("watch.vertical"), t("watch.began"), t("watch.retrain.reason"), t("watch.retrain.stage"), t("watch.retrain.why")];
  const rows = retrainings.map((one) => [
    one.vertical,
    moment(one.at),
    t(`watch.reason.${one.reason ?? "person"}`),
    h("span", { class: `badge ${TONES[one.stage] ?? "accent"}` }, t(`watch.stage.${one.stage}`)),
    [one.why, one.job && may("train") && [" ", h("a", { href: link("/jobs/{id}", { id: one.job }) }, t("watch.retrain.job"))]],
  ]);
  return h("section", { class: "later" }, h("h2", {}, t("watch.retrainings")), table(t("watch.retrainings"), heads, rows));
}
