/** Jobs on a finished model: make it smaller, prepare it for serving, and measure it on a dataset. */

import { get, send } from "../api.js";
import { h } from "../dom.js";
import { checkbox, field, select } from "../forms.js";
import { attempt, dialog } from "../messages.js";
import { moment, t } from "../phrases.js";
import { go, link } from "../router.js";

/** Ask whether to compress a model, start the job, and show it. */
export async function startCompression(model) {
  const accept = checkbox(t("model.compress.accept"), false);
  const content = [h("p", {}, t("model.compress.text")), accept.element];
  const start = () => attempt(() => send("POST", "/v1/jobs", { kind: "compress", model, accept: accept.input.checked }));
  await started(dialog(t("model.compress.title", { model }), content, [{ label: t("model.compress"), value: start }]));
}

/** Start the job that prepares a model for serving, so that it can be compared with the live one, and show it. */
export async function startPreparation(model) {
  await started(attempt(() => send("POST", "/v1/jobs", { kind: "share", model })));
}

/** Ask on which rows a model is to be measured, start the job, and show it. */
export async function startEvaluation(model) {
  const found = await attempt(() => get("/v1/datasets", { limit: 200 }));
  const options = (found?.datasets ?? []).map((one) => [
    one.id,
    t("model.evaluate.option", { name: one.name || one.id, at: moment(one.at) }),
  ]);
  const dataset = select([["", t("model.evaluate.own")], ...options], "");
  const content = [h("p", {}, t("model.evaluate.text")), field(t("model.evaluate.rows"), dataset)];
  const body = () => ({ kind: "evaluate", model, ...(dataset.value ? { dataset: dataset.value } : {}) });
  const start = () => attempt(() => send("POST", "/v1/jobs", body()));
  await started(dialog(t("model.evaluate.title", { model }), content, [{ label: t("model.evaluate"), value: start }]));
}

async function started(dialogue) {
  const job = await dialogue;
  if (job) go(link("/jobs/{id}", { id: job.id }));
}
