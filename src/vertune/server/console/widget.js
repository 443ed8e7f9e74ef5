/* The chat of an app on any web page. One tag shows it; pages that import this module call `start` themselves:
   <script type="module" src="SERVER/widget.js" data-app="NAME" data-key="KEY"></script> */

const TEXTS = {
  en: {
    title: "Customer service", close: "Close chat", end: "End chat", log: "Conversation", write: "Write a message", send: "Send",
    machine: "You are talking to a machine. You can ask for a person at any time.", person: "Talk to a person",
    bot: "Automatic assistant", waiting: "Waiting for a person", pending: "One moment …", agent: "A person answers", closed: "Chat ended",
    by: { visitor: "You", bot: "Machine", agent: "Person", system: "Notice" }, unread: "new", taken: "A person has joined.",
    returned: "The machine answers again.", failed: "Not sent", trouble: "The chat is not available now.",
    offline: "No connection. Your messages will be sent when it is back.", rate: "How satisfied are you? (5: very)",
    comment: "Comment", thanks: "Thank you.", again: "New chat",
  },
  zh: {
    title: "在线客服", close: "关闭聊天窗口", end: "结束对话", log: "对话", write: "请输入您的问题", send: "发送",
    machine: "您正在与机器对话，可随时转人工。", person: "转人工",
    bot: "自动客服", waiting: "正在等待人工客服", pending: "请稍候……", agent: "人工客服为您服务", closed: "对话已结束",
    by: { visitor: "您", bot: "机器", agent: "人工", system: "提示" }, unread: "条新消息", taken: "人工客服已加入。",
    returned: "自动客服继续为您服务。", failed: "未发送", trouble: "暂时无法使用。",
    offline: "网络已断开，恢复后会自动发送您的消息。", rate: "您对这次服务满意吗？（5 分：非常满意）",
    comment: "留言", thanks: "感谢您的评价。", again: "新的对话",
  },
};

/** The look. Pages change it by the variables --vertune-…, such as --vertune-accent; --vertune-scheme is light or dark. */
const STYLE = `
:host{all:initial;position:fixed;inset:auto var(--vertune-right,16px) var(--vertune-bottom,16px) auto;z-index:var(--vertune-z,99999);
color-scheme:var(--vertune-scheme,light dark);font:var(--vertune-font,15px/1.45 system-ui,sans-serif);
--a:var(--vertune-accent,light-dark(#1353b8,#8cb5ff));--on:var(--vertune-on-accent,light-dark(#fff,#0a1a33));
--g:var(--vertune-ground,light-dark(#fff,#171c23));--s:var(--vertune-surface,light-dark(#eceff3,#28313c));
--t:var(--vertune-text,light-dark(#151b23,#e8ecf1));--m:var(--vertune-muted,light-dark(#515c69,#b2bcc8));--l:#848e9b;
--r:var(--vertune-radius,12px)}*{box-sizing:border-box}[hidden]{display:none!important}p,h2{margin:0;overflow-wrap:anywhere}
button,textarea,.panel{border:1px solid var(--l);border-radius:var(--r);background:var(--g)}
button,textarea{font:inherit;color:inherit;padding:6px 12px}.panel,.turn{display:flex;flex-direction:column}
button{min-height:40px;cursor:pointer}:focus-visible{outline:3px solid var(--a);outline-offset:-3px}
.main{background:var(--a);color:var(--on)}.main:focus-visible{outline-offset:2px}
.launch{min-height:52px;padding:0 20px;border-radius:26px}
.panel{width:380px;height:min(620px,calc(100dvh - 32px));color:var(--t);overflow:hidden}.launch,.panel{box-shadow:0 4px 24px #0006}
header,form,.foot,.choices,fieldset,label{display:flex;gap:8px}header,form,.foot{padding:10px 12px}form,.choices{flex-wrap:wrap}
header div,.log,textarea{flex:1;min-width:0}h2{font-size:16px}.note,span{color:var(--m);font-size:13px}.foot{padding-top:0}
.log{overflow-y:auto;padding:12px;border:solid var(--l);border-width:1px 0}
.turn{align-items:start;gap:6px;margin-top:10px}.visitor{align-items:end}.system{align-items:center}
.turn p{max-width:88%;padding:8px 12px;border-radius:var(--r);background:var(--s);white-space:pre-wrap}
.visitor p{background:var(--a);color:var(--on)}[id] p{opacity:.75}.agent p{box-shadow:0 0 0 2px var(--a)}
.system p{background:none;color:var(--m)}
.choices button,a{color:var(--a)}img{max-width:88%;max-height:240px}
textarea{resize:none}::placeholder{color:var(--m)}
fieldset{flex:0 0 100%;gap:16px;border:0;margin:0;padding:0}
input{width:24px;height:24px;margin:0;accent-color:var(--a)}label{gap:4px}.rate textarea{flex-basis:100%}
@media(max-width:480px){.panel{position:fixed;inset:0;width:auto;height:100dvh;border-radius:0}}
.sr{position:absolute;clip-path:inset(50%)}`;

/** Milliseconds without an event after which a proxy seems to hold the stream back. */
const BUFFERED = 5000;
/** The elements that change. */
const ui = {};
let texts, language, key, base, sending, starting, listening, stop, rated, queue, away;
/** The number of the last turn that is shown. */
let after = 0;
let stage = "bot";
let streams = true;
let unread = 0;
/** What outlasts the page, for all of its tabs: the conversation, how many messages the server has, and those that it does not have. */
const kept = { id: null, sequence: 0, outbox: [] };

/** Show the chat of an app; options are those of the tag: {app, key, language: "zh", title: "Help", open: ""}. */
export function start(options) {
  language = (options.language || document.documentElement.lang || navigator.language).startsWith("zh") ? "zh" : "en";
  texts = TEXTS[language];
  key = options.key;
  base = new URL(`v1/apps/${encodeURIComponent(options.app)}/conversations`, import.meta.url).href;
  build(options.title || texts.title);
  keep();
  addEventListener("storage", follow);
  // a browser may keep the page, and with it a connection that the next page needs, until the visitor goes back
  addEventListener("pagehide", () => stop?.abort((away = true)));
  addEventListener("pageshow", (event) => event.persisted && follow((away = false)));
  if (options.open !== undefined) open();
  // so that the answer of a person is seen on the next page, too
  else if (kept.id) restore();
}

const pause = (tries) => new Promise((done) => setTimeout(done, Math.min(15e3, 400 * 2 ** tries) * Math.random()));
const anchor = (url, text) => node("a", { href: url, target: "_blank" }, text);
const press = (text, onclick, more) => node("button", { onclick, ...more }, text);

/** Return a new element; functions become properties, and may not return false; everything else becomes attributes. */
function node(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter(Boolean));
  return made;
}

/** Read what is kept, and change it; without storage, it lasts as long as the page. */
function keep(changes) {
  try {
    Object.assign(kept, JSON.parse(localStorage[base] ?? "{}"), changes);
    // what is only read is not written back: that would undo what another tab writes at this moment
    if (changes) localStorage[base] = JSON.stringify(kept);
  } catch {
    Object.assign(kept, changes);
  }
}

// ---- what is shown

function build(title) {
  const keys = (event) => void (event.key === "Enter" && !event.shiftKey && !event.isComposing && write(event));
  const area = { rows: 2, maxlength: 2000, "aria-label": texts.write, placeholder: texts.write, onkeydown: keys };
  ui.status = node("p", { class: "note", role: "status" });
  const machine = node("p", { class: "note" }, texts.machine);
  ui.log = node("div", { class: "log", role: "log", "aria-label": texts.log, tabindex: 0 }, machine);
  ui.input = node("textarea", area);
  ui.form = node("form", { onsubmit: write }, ui.input, node("button", { class: "main" }, texts.send));
  ui.person = press(texts.person, () => send("handoff"));
  ui.foot = node("div", { class: "foot" }, ui.person, press(texts.end, () => send("close")));
  ui.last = node("div", {});
  const top = node("header", {}, node("div", {}, node("h2", {}, title), ui.status), press("×", close, { "aria-label": texts.close }));
  const onkeydown = (event) => void (event.key === "Escape" && !event.isComposing && close());
  const about = { class: "panel", role: "dialog", "aria-label": title, hidden: "", onkeydown };
  ui.panel = node("section", about, top, ui.log, ui.last, ui.form, ui.foot);
  ui.launch = press(title, open, { class: "launch main" });
  const host = node("vertune-chat", { lang: language });
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  // which the Content-Security-Policy of a page does not forbid
  root.adoptedStyleSheets = [sheet];
  root.append(ui.launch, ui.panel);
  document.body.append(host);
}

function open() {
  [ui.launch.hidden, ui.panel.hidden, unread] = [true, false, 0];
  show();
  ui.input.focus();
  restore();
}

function close() {
  [ui.launch.hidden, ui.panel.hidden] = [false, true];
  show();
  ui.launch.focus();
  if (stage === "bot") stop?.abort();
}

/** Show who answers and what can be done; `text` replaces who answers. */
function show(text) {
  const ended = stage === "closed";
  ui.status.textContent = (text || texts[stage]) + (stage === "waiting" && queue > 1 ? ` #${queue}` : "");
  ui.person.hidden = stage !== "bot";
  ui.form.hidden = ui.foot.hidden = ended;
  ui.launch.textContent = ui.panel.ariaLabel + (unread ? ` (${unread} ${texts.unread})` : "");
  if (!ended) ui.last.replaceChildren();
  else if (!ui.last.firstChild) {
    ui.last.append(rating());
    ui.log.scrollTop = ui.log.scrollHeight;
  }
}

const trouble = ({ status }) => show(status ? texts.trouble : texts.offline);

function rating() {
  const again = press(texts.again, () => renew([]), { type: "button" });
  const score = (value) => node("label", {}, node("input", { type: "radio", name: "score", value, required: "" }), ` ${value}`);
  const comment = node("textarea", { name: "comment", maxlength: 1000, "aria-label": texts.comment, placeholder: texts.comment });
  const thank = () => {
    form.replaceChildren(node("p", { role: "status" }, texts.thanks), again);
    again.focus();
  };
  const onsubmit = (event) => {
    event.preventDefault();
    const body = { score: +form.score.value, comment: comment.value };
    call("POST", "/satisfaction", body).then(thank, trouble);
  };
  const fields = node("fieldset", {}, node("legend", {}, texts.rate), [1, 2, 3, 4, 5].map(score));
  const form = node("form", { class: "rate", onsubmit }, fields, comment, node("button", { class: "main" }, texts.send), again);
  if (rated) form.replaceChildren(again);
  return form;
}

/** Return the element of a turn. Texts never become HTML, and addresses are those of encrypted pages, or of the page's own site. */
function element({ author, text, event, choices = [], attachments = [], evidence = [] }) {
  const parts = (text || texts[event] || "").split(/(https:\/\/[^\s<>"'，。；）)]+)/);
  const attached = ({ kind, url, title }) => {
    if (!/^(https:\/\/|\/(?!\/))/.test(url)) return title;
    return kind === "image" ? node("img", { src: url, alt: title, loading: "lazy" }) : anchor(url, title);
  };
  const button = ({ title, value }) => press(title, () => send("messages", { choice: value }, title));
  return node(
    "div",
    { class: `turn ${author}` },
    node("span", { class: author === "agent" ? "" : "sr" }, `${texts.by[author]}: `),
    parts.join("") && node("p", {}, parts.map((one, place) => (place % 2 ? anchor(one, one) : one))),
    [...attachments, ...evidence.filter(({ kind }) => kind === "passage")].map(attached),
    choices.length && node("div", { class: "choices" }, choices.map(button)),
  );
}

/** Return the element of a message that is on its way. */
const pending = (message) => ui.log.children.namedItem(message);

function add(turn, id) {
  const { scrollHeight, scrollTop, clientHeight } = ui.log;
  const made = element(turn);
  if (id) made.id = id;
  // they belong to the last reply alone
  ui.log.querySelector(".choices")?.remove();
  ui.log.insertBefore(made, id ? null : ui.log.querySelector("[id]"));
  if (id || scrollHeight - scrollTop - clientHeight < 90) ui.log.scrollTop = ui.log.scrollHeight;
}

/** Show what the server tells. */
function got(found) {
  for (const turn of found.turns ?? []) {
    if (turn.number <= after) continue;
    after = turn.number;
    const sent = pending(turn.message);
    // it stays where it is, so that it is not read out again
    if (sent) sent.removeAttribute("id");
    else if (turn.text || texts[turn.event]) add(turn);
    if (turn.author === "agent" && ui.panel.hidden) unread += 1;
  }
  stage = found.stage ?? stage;
  rated ||= found.satisfaction;
  if (found.sequence) kept.sequence = found.sequence - 1;
  queue = found.position ?? queue;
  show(found.pending && texts.pending);
}

// ---- what is sent: one message after another, until the server has it

function write(event) {
  event.preventDefault();
  const text = ui.input.value.trim();
  ui.input.value = "";
  if (text) send("messages", { text }, text);
}

function send(kind, body, shown) {
  const message = Date.now().toString(36) + Math.random().toString(36).slice(2);
  keep();
  keep({ outbox: [...kept.outbox, { kind, shown, message, ...body }] });
  pend(kept.outbox.at(-1));
  ui.input.focus();
  flush();
}

/** Show a message that is on its way. */
function pend({ message, shown }) {
  if (shown && !pending(message)) add({ author: "visitor", text: shown }, message);
}

async function flush() {
  if (sending) return;
  sending = true;
  for (let tries = 0; kept.outbox.length && stage !== "closed"; ) {
    const [{ kind, shown, ...body }] = kept.outbox;
    try {
      await begin();
      const found = await call("POST", `/${kind}`, { ...body, sequence: kept.sequence + 1 });
      // else something came before, and the stream brings all in order
      if (found.turns?.[0]?.number !== after + 1) found.turns = [];
      got(found);
      settle(body);
      tries = 0;
    } catch (error) {
      await refused(error, body, (tries += 1));
    }
  }
  sending = false;
}

/** Take a message from those that the server does not have, and keep how many it has. */
function settle({ message }) {
  const { sequence } = kept;
  keep();
  keep({ sequence, outbox: kept.outbox.filter((one) => one.message !== message) });
}

/** Decide what follows when a message was not taken: all but what the server finds wrong is sent again, with the same id. */
async function refused(error, body, tries) {
  const { status } = error;
  // another tab has used the number, or the conversation is closed, or it was deleted, which the answer tells
  if (/^40[49]/.test(status)) await call("GET", `?after=${after}`).then(got, trouble);
  else if (/^4(?!29)/.test(status)) {
    const element = pending(body.message);
    element?.append(node("span", { role: "alert" }, texts.failed));
    element?.removeAttribute("id");
    return settle(body);
  } else trouble(error);
  return pause(tries);
}

/** Begin a new conversation with messages that the server does not have. */
function renew(outbox) {
  keep({ id: null, sequence: 0, outbox });
  reset();
}

/** Show another conversation. */
function reset() {
  // that a machine answers
  ui.log.replaceChildren(ui.log.firstChild);
  after = rated = 0;
  stage = "bot";
  stop?.abort();
  show();
  if (!ui.panel.hidden) open();
}

/** Follow another tab or page that has begun another conversation. */
function follow() {
  const { id } = kept;
  keep();
  if (kept.id && kept.id !== id) reset();
  listen();
}

// ---- what comes

/** Begin a conversation if there is none. */
async function begin() {
  if (kept.id) return;
  starting ??= call("POST", "", { language });
  try {
    const { id, token, ...found } = await starting;
    if (!kept.id) keep({ id, token });
    got(found);
    listen();
  } finally {
    starting = null;
  }
}

/** Show the conversation, and go on with it. */
async function restore() {
  // so that an old conversation is not read out
  ui.log.ariaBusy = "true";
  kept.outbox.forEach(pend);
  try {
    await begin();
    if (!after) got(await call("GET", "?after=0"));
  } catch (error) {
    trouble(error);
  }
  ui.log.ariaBusy = "false";
  flush();
  listen();
}

/** Listen while something may come: to a stream, or by asking again and again where a proxy holds streams back. */
async function listen() {
  if (listening) return;
  listening = true;
  for (let tries = 0; kept.id && !away && stage !== "closed" && !(ui.panel.hidden && stage === "bot"); ) {
    stop = new AbortController();
    try {
      if (streams) await stream();
      else got(await call("GET", `?after=${after}&wait=20`, null, stop.signal));
      await pause((tries = 0));
    } catch (error) {
      // what was stopped on purpose has not failed
      tries = stop.signal.aborted ? 0 : tries + 1;
      if (tries) trouble(error);
      await pause(tries);
      streams &&= tries < 2;
    }
  }
  listening = false;
}

async function stream() {
  const held = setTimeout(() => stop.abort((streams = false)), BUFFERED);
  try {
    const response = await request("GET", `/events?after=${after}`, null, stop.signal);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(held);
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        // a comment has no data
        const found = JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? "{}");
        got(found.number ? { turns: [found] } : found);
      }
    }
  } finally {
    clearTimeout(held);
  }
}

/** Return what the server answers; nothing about a conversation after which another one has begun meanwhile. */
async function call(...sent) {
  const { id } = kept;
  const response = await request(...sent);
  const found = response.status === 204 || (await response.json());
  return kept.id === id ? found : {};
}

async function request(method, path, body, signal) {
  const headers = { Authorization: `Bearer ${key}`, "X-Conversation-Token": kept.token ?? "" };
  if (body) headers["Content-Type"] = "application/json";
  const asked = { method, headers, body: body && JSON.stringify(body), signal };
  const response = await fetch(kept.id ? `${base}/${kept.id}${path}` : base, asked);
  if (response.ok) return response;
  // it was deleted; a message may also be refused because a model is missing
  if (response.status === 404 && kept.id && path[0] === "?") setTimeout(renew, 0, kept.outbox);
  throw Object.assign(new Error(path), { status: response.status });
}

const tag = [...document.scripts].find((one) => one.src === import.meta.url && one.dataset.app);
if (tag) start(tag.dataset);
