/** Making a model live: at once, or after a comparison with the live one, whose evidence is shown while it runs. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { checkbox, field, radios } from "../forms.js";
import { attempt, dialog, show } from "../messages.js";
import { moment, number, percent, t } from "../phrases.js";
import { facts, table } from "./lists.js";

/** Ask for a reason before a decision; resolves to the reason, or null if it is not taken. */
export async function askReason(title, text, action, kind = "primary") {
  const reason = h("input", { maxlength: 1000, autocomplete: "off" });
  const content = [h("p", {}, text), field(t("rollout.reason"), reason, t("rollout.reason.hint"))];
  return dialog(title, content, [{ label: action, value: () => reason.value.trim(), kind }]);
}

/** Ask how a model is to become live, and do it; resolves to whether something changed. */
export async function askDeployment(vertical, version) {
  const form = deploymentForm(version.prepared);
  const { model } = version;
  const decide = () => attempt(() => deploy(vertical.name, model, form));
  const done = await dialog(t("rollout.title", { model }), form.element, [{ label: t("model.deploy"), value: decide }]);
  return Boolean(done);
}

async function deploy(vertical, model, form) {
  if (form.mode === "now") {
    const before = (await get(at`/v1/verticals/${vertical}`)).model;
    const found = await send("PUT", at`/v1/verticals/${vertical}`, { model });
    const run = () => attempt(() => send("PUT", at`/v1/verticals/${vertical}`, { model: before }));
    show(t("rollout.deployed", { model }), before ? { action: { label: t("action.undo"), run } } : {});
    return found;
  }
  const found = await send("POST", at`/v1/verticals/${vertical}/rollout`, { model, ...form.value() });
  show(t("rollout.began", { model }));
  return found;
}

/** Return what asks how a model is deployed; one that is not `prepared` for serving can't be compared yet. */
function deploymentForm(prepared) {
  const share = h("input", { type: "number", min: 0.1, max: 100, step: "any", value: 10, required: true });
  const slower = h("input", { type: "number", min: 1.01, max: 100, step: "any", value: 1.5, required: true });
  const after = h("input", { type: "number", min: 1, step: 1, placeholder: t("rollout.after.never") });
  const back = checkbox(t("rollout.back"), true);
  const reason = h("input", { maxlength: 1000, autocomplete: "off" });
  const rules = h(
    "div",
    { hidden: true },
    h(
      "div",
      { class: "fields" },
      field(t("rollout.share"), share, t("rollout.share.hint")),
      field(t("rollout.slower"), slower, t("rollout.slower.hint")),
    ),
    back.element,
    field(t("rollout.after"), after, t("rollout.after.hint")),
    field(t("rollout.reason"), reason, t("rollout.reason.hint")),
  );
  const options = (prepared ? ["canary", "shadow", "now"] : ["now"]).map((one) => [
    one,
    t(`rollout.mode.${one}`),
    t(`rollout.mode.${one}.hint`),
  ]);
  const switched = () => {
    const now = modes.value === "now";
    rules.hidden = now;
    for (const input of rules.querySelectorAll("input")) input.disabled = now; // a hidden field must not stop the form
  };
  const modes = radios(t("rollout.mode"), options, prepared ? "canary" : "now", switched);
  switched();
  return {
    element: h("div", {}, modes.element, !prepared && h("p", { class: "notice" }, t("rollout.unprepared")), rules),
    get mode() {
      return modes.value;
    },
    value() {
      const least = after.value ? Number(after.value) : null;
      const chosen = { roll_back: back.input.checked, slower: Number(slower.value), promote_after: least };
      return { mode: modes.value, share: Number(share.value) / 100, rules: chosen, reason: reason.value.trim() };
    },
  };
}

/** Shows the candidate of a vertical and what was counted of it; nothing if there is none. `changed()` is called after a decision. */
export class RolloutCard {
  constructor(vertical, { signal, changed }) {
    Object.assign(this, { vertical, signal, changed });
    this.running = null;
    this.element = h("section", { hidden: true, class: "card later", "aria-label": t("rollout.running") });
  }

  /** Ask the server how the comparison goes on. */
  async load() {
    let found;
    try {
      found = await get(at`/v1/verticals/${this.vertical}/rollout`, {}, { signal: this.signal });
    } catch (error) {
      if (error.status !== 404 && error.status !== 422) throw error;
      found = null;
    }
    if (this.running !== null && found?.model !== this.running) {
      this.running = found?.model ?? null;
      this.changed();
      return;
    }
    this.running = found?.model ?? null;
    this.element.hidden = found === null;
    if (found && !this.element.contains(document.activeElement)) replace(this.element, this.#content(found));
  }

  #content(found) {
    const { rules } = found;
    return [
      h(
        "div",
        { class: "row between" },
        h("h2", {}, t("rollout.running")),
        h("span", { class: "badge accent" }, t(`rollout.mode.${found.mode}`)),
      ),
      facts([
        [t("rollout.candidate"), found.model],
        [t("model.live"), found.live],
        [t("rollout.share"), percent(found.share, 1)],
        [t("rollout.since"), `${moment(found.began)} (${found.actor})`],
        [
          t("rollout.rules"),
          [
            rules.roll_back ? t("rollout.back") : t("rollout.back.no"),
            rules.promote_after ? t("rollout.after.count", { count: rules.promote_after }) : t("rollout.after.person"),
          ].join(" "),
        ],
      ]),
      found.loaded ? this.#evidence(found.evidence) : h("p", { class: "notice" }, t("rollout.loading")),
      h(
        "div",
        { class: "buttons later" },
        h("button", { type: "button", class: "primary", onclick: () => this.#decide("promote") }, t("rollout.promote")),
        h("button", { type: "button", class: "danger", onclick: () => this.#decide("rollback") }, t("rollout.stop")),
      ),
    ];
  }

  #evidence(evidence) {
    const { candidate, live } = evidence;
    if (!candidate || !live) return h("p", { class: "notice" }, t("rollout.nothing"));
    const of = (part, whole) => (whole ? `${number(part)} / ${number(whole)} (${percent(part / whole, 1)})` : "–");
    const right = (one) => {
      const count = one.right + one.wrong;
      return count
        ? `${of(one.right, count)} ${t("serving.metric.interval", { low: percent(one.right_at_least), high: percent(one.right_at_most) })}`
        : "–";
    };
    const rows = [
      [t("rollout.answers"), number(candidate.answers), number(live.answers)],
      [t("rollout.failures"), of(candidate.failures, candidate.answers), of(live.failures, live.answers)],
      [t("rollout.slow"), of(candidate.slow, candidate.timed), of(live.slow, live.timed)],
      [t("rollout.right"), right(candidate), right(live)],
    ];
    return [
      table(t("rollout.evidence"), [t("rollout.evidence"), t("rollout.candidate"), t("model.live")], rows),
      evidence.compared > 0 &&
        h(
          "p",
          {},
          t("rollout.agreed", {
            agreed: evidence.agreed,
            count: evidence.compared,
            share: percent(evidence.agreed / evidence.compared, 1),
          }),
        ),
    ];
  }

  async #decide(action) {
    const promotes = action === "promote";
    const texts = promotes
      ? [t("rollout.promote.title"), t("rollout.promote.text"), t("rollout.promote")]
      : [t("rollout.stop.title"), t("rollout.stop.text"), t("rollout.stop")];
    const reason = await askReason(...texts, promotes ? "primary" : "danger");
    if (reason === null) return;
    const done = await attempt(() => send("POST", `${at`/v1/verticals/${this.vertical}`}/${action}`, { reason }));
    if (!done) return;
    this.running = null;
    show(t("rollout.decided", { model: done.live ?? "–" }));
    this.changed();
  }
}
