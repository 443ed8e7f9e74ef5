/** Trainings on what was learnt since: how far each has come, and how a person begins one. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { attempt, dialog, show } from "../messages.js";
import { hasPhrase, language, moment, t } from "../phrases.js";
import { link } from "../router.js";
import { may } from "../session.js";
import { table } from "../serving/lists.js";

const TONES = { done: "good", refused: "warn", failed: "bad", waiting: "warn" };

/** Return the table of retrainings, newest first; nothing without any. */
export function retrainingTable(retrainings) {
  if (!retrainings.length) return null;
  const heads = [t("watch.vertical"), t("watch.began"), t("watch.retrain.reason"), t("watch.retrain.stage"), t("watch.retrain.why")];
  const rows = retrainings.map((one) => [
    one.vertical,
    moment(one.at),
    t(`watch.reason.${one.reason ?? "person"}`),
    h("span", { class: `badge ${TONES[one.stage] ?? "accent"}` }, stageName(one.stage)),
    [one.why, one.job && may("train") && [" ", h("a", { href: link("/jobs/{id}", { id: one.job }) }, t("watch.retrain.job"))], stages(one)],
  ]);
  return h("section", { class: "later" }, h("h2", {}, t("watch.retrainings")), table(t("watch.retrainings"), heads, rows));
}

function stageName(stage) {
  return hasPhrase(`watch.stage.${stage}`) ? t(`watch.stage.${stage}`) : stage;
}

/** Return what opens the stages that a retraining reached, with the times. */
function stages(one) {
  const content = h("div", {});
  const more = h("details", {}, h("summary", {}, t("watch.retrain.stages")), content);
  more.addEventListener("toggle", () => more.open && !content.children.length && attempt(() => fill(content, one)));
  return more;
}

async function fill(content, one) {
  const found = await get(at`/v1/retrainings/${one.id}`, { language });
  const reached = found.stages.map(({ stage, at: time }) => h("li", {}, `${stageName(stage)}: ${moment(time)}`));
  const labels = found.labels && h("p", {}, t("watch.retrain.labels", { given: found.given ?? 0, wanted: found.labels }));
  replace(content, h("ol", {}, reached), labels);
}

/** Ask which vertical is to be trained again; resolves to whether a retraining began. */
export async function askRetraining(names, chosen) {
  const vertical = select(
    names.map((name) => [name, name]),
    chosen || names[0],
  );
  const content = [h("p", {}, t("watch.retrain.text")), field(t("watch.vertical"), vertical)];
  const act = () => attempt(() => send("POST", "/v1/retrainings", { vertical: vertical.value }));
  const done = await dialog(t("watch.retrain"), content, [{ label: t("watch.retrain"), value: act }]);
  if (done) show(t("watch.retrain.begun"), { kind: "good" });
  return Boolean(done);
}
