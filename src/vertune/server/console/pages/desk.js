/** The desk: who waits for a person, and the conversation that this person has with a customer. */

import { at, get } from "../api.js";
import { h, replace } from "../dom.js";
import { showError } from "../messages.js";
import { t } from "../phrases.js";
import { link } from "../router.js";
import { ConversationView } from "../service/conversation.js";
import { Inbox } from "../service/inbox.js";

export default async function desk({ root, params, query, signal, title }) {
  const inbox = new Inbox(query.list ?? "waiting", params.id, signal);
  const place = h("div", { class: "desk-conversation" });
  root.append(
    h("header", {}, h("h1", {}, t("desk.title")), h("a", { class: "button", href: link("/canned") }, t("canned.title"))),
    h("div", { class: params.id ? "inboxes open" : "inboxes" }, inbox.element, place),
  );
  title(t("desk.title"));
  const listed = inbox.start();
  if (params.id) await showConversation(params.id, place, inbox, signal);
  else replace(place, h("div", { class: "empty" }, h("p", {}, t("desk.choose"))));
  await listed;
}

async function showConversation(id, place, inbox, signal) {
  const found = await get(at`/v1/desk/conversations/${id}`, { after: 0 }, { signal });
  const changed = (mine) => (mine ? inbox.show("mine") : inbox.renew()).catch(showError);
  const view = new ConversationView(found, changed, signal);
  const back = h("a", { class: "back", href: link("/desk", {}, { list: inbox.name }) }, t("desk.back"));
  replace(place, back, view.element);
  view.follow();
}
