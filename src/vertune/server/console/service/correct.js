/** Says what a customer meant: an intent, or a new entry of the FAQ. It becomes feedback and a label. */

import { at, get, send } from "../api.js";
import { freshId, h } from "../dom.js";
import { field, radios } from "../forms.js";
import { attempt, dialog, show } from "../messages.js";
import { t } from "../phrases.js";

/** Return inputs for an intent or an entry of the FAQ; `chosen()` returns what was chosen, or undefined if it is incomplete. */
export function meaningFields(intents, language, { intent = "", question = "", answer = "", kind = "intent" } = {}) {
  const names = freshId("intents");
  const name = h("input", { list: names, value: intent, maxlength: 200, autocomplete: "off" });
  const ask = h("input", { value: question, maxlength: 1000, autocomplete: "off" });
  const reply = h("textarea", { rows: 4, value: answer, maxlength: 4000 });
  const one = h(
    "div",
    {},
    field(t("correct.intent"), name, t("correct.intent.hint")),
    h("datalist", { id: names }, intents.map((value) => h("option", { value }))),
  );
  const other = h("div", {}, field(t("correct.question"), ask), field(t("correct.answer"), reply));
  const turn = (chosen) => {
    one.hidden = chosen !== "intent";
    other.hidden = chosen !== "entry";
  };
  const kinds = ["intent", "entry"].map((value) => [value, t(`correct.kind.${value}`)]);
  const choice = radios(t("correct.kind"), kinds, kind, turn);
  turn(kind);
  return {
    elements: [choice.element, one, other],
    chosen() {
      const needed = choice.value === "intent" ? [name] : [ask, reply];
      for (const input of needed) input.required = true;
      if (!needed.every((input) => input.reportValidity() && input.value.trim())) return undefined;
      if (choice.value === "intent") return { intent: name.value.trim() };
      return { entry: { question: ask.value.trim(), answer: reply.value.trim(), language } };
    },
  };
}

/** Ask what a turn of a conversation means, and store it; resolves to whether it was stored. */
export async function correctTurn(conversation, turn, intent, answer) {
  const app = await attempt(() => get(at`/v1/apps/${conversation.app}`));
  if (!app) return false;
  const fields = meaningFields(app.intents ?? [], conversation.language, { intent, question: turn.text, answer });
  const save = () => {
    const body = fields.chosen();
    return body && attempt(() => send("POST", at`/v1/desk/conversations/${conversation.id}/label`, { turn: turn.number, ...body }));
  };
  const content = [h("blockquote", {}, turn.text), ...fields.elements];
  const stored = await dialog(t("correct.title"), content, [{ label: t("action.save"), value: save }]);
  if (stored) show(t("correct.done"), { kind: "good" });
  return Boolean(stored);
}
