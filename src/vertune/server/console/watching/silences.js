/** Silences: times in which nobody is told of alerts. */

import { at, send } from "../api.js";
import { h } from "../dom.js";
import { field, select } from "../forms.js";
import { attempt, dialog, show } from "../messages.js";
import { moment, t } from "../phrases.js";
import { may } from "../session.js";

/** Return the silences that have not ended; nothing without any. `changed` is called after one was ended. */
export function silenceList(silences, changed) {
  if (!silences.length) return null;
  return h(
    "ul",
    { class: "attention" },
    silences.map((one) =>
      h(
        "li",
        { class: "notice" },
        h("p", {}, said(one), one.reason && ` ${one.reason}`),
        may("admin") && h("button", { type: "button", onclick: () => end(one, changed) }, t("watch.silence.end")),
      ),
    ),
  );
}

function said({ vertical, rule, until }) {
  const time = moment(until);
  if (rule) return t("watch.silence.rule", { vertical, rule, until: time });
  return vertical ? t("watch.silence.vertical", { vertical, until: time }) : t("watch.silence.all", { until: time });
}

async function end(silence, changed) {
  const done = await attempt(() => send("DELETE", at`/v1/silences/${silence.id}`).then(() => true));
  if (done) await attempt(changed);
}

/** Ask for which vertical and how long nobody is to be told; resolves to whether a silence began. */
export async function askSilence(names, chosen) {
  const vertical = select([["", t("watch.all")], ...names.map((name) => [name, name])], chosen);
  const hours = h("input", { type: "number", min: 0.5, max: 24 * 366, step: "any", value: 12, required: true });
  const reason = h("input", { maxlength: 1000, autocomplete: "off" });
  const content = [
    h("p", {}, t("watch.silence.text")),
    field(t("watch.vertical"), vertical),
    field(t("watch.silence.hours"), hours),
    field(t("watch.comment"), reason),
  ];
  const body = () => ({ vertical: vertical.value || null, hours: Number(hours.value), reason: reason.value.trim() });
  const act = () => attempt(() => send("POST", "/v1/silences", body()));
  const done = await dialog(t("watch.silence"), content, [{ label: t("watch.silence"), value: act }]);
  if (done) show(t("watch.done"), { kind: "good" });
  return Boolean(done);
}
