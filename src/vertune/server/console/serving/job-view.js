/** One job as it goes on: what it does now, how far it is, the curve of what it learns, and what happened, as server-sent events. */

import { at, get, send, withQuery } from "../api.js";
import { lineChart } from "../chart.js";
import { h, replace } from "../dom.js";
import { attempt, confirm, say } from "../messages.js";
import { duration, hasPhrase, language, moment, number, t } from "../phrases.js";
import { every } from "./lists.js";
import { metricName } from "./metrics.js";

const RUNNING = new Set(["queued", "running"]);
const KINDS = { queued: "warn", running: "accent", done: "good", failed: "bad", cancelled: "" };
/** Most points of a curve that are drawn; of more, every second one is left out. */
const MOST_POINTS = 60;
/** Milliseconds between two drawings of the curves. */
const DRAWING = 800;
/** Milliseconds between two looks at the state. */
const LOOKING = 3000;
/** Most events in the list. */
const MOST_EVENTS = 500;

/** Return whether a job waits or runs. */
export function isRunning(job) {
  return RUNNING.has(job.state);
}

/** Return the state of a job as a badge. */
export function stateBadge(job) {
  return h("span", { class: `badge ${KINDS[job.state] ?? ""}` }, t(`job.state.${job.state}`));
}

/** Return the name of the kind of a job. */
export function kindName(job) {
  return hasPhrase(`job.kind.${job.kind}`) ? t(`job.kind.${job.kind}`) : job.kind;
}

/** Cancel a job after a question; resolves to the job as it is then, or undefined. */
export async function cancelJob(job) {
  const sure = await confirm(t("job.cancel.title"), t("job.cancel.text", { kind: kindName(job), vertical: job.vertical }), t("job.cancel"));
  return sure ? attempt(() => send("POST", at`/v1/jobs/${job.id}/cancel`)) : undefined;
}

/** Shows a job while it goes on; `ended(job)` is called once when it has ended. */
export class JobView {
  constructor(job, { signal, ended = () => {} }) {
    Object.assign(this, { job, ended, signal });
    this.curves = new Map();
    this.events = [];
    this.stage = h("p", { class: "stage", role: "status" });
    this.bar = h("progress", { "aria-label": t("job.progress"), hidden: true });
    this.facts = h("p", { class: "muted" });
    this.charts = h("div", { class: "job-charts" });
    this.list = h("ol", { class: "events" });
    this.badge = h("span", {});
    this.cancel = h("button", { type: "button", class: "danger", onclick: () => this.#cancel() }, t("job.cancel"));
    this.element = h(
      "section",
      { class: "card job-view" },
      h("div", { class: "row between" }, this.badge, this.cancel),
      this.stage,
      this.bar,
      this.facts,
      this.charts,
      h("details", {}, h("summary", {}, t("job.events")), this.list),
    );
    this.#show();
    this.#follow();
    every(LOOKING, () => this.over || this.#refresh(), signal); // the stream does not tell when a job that waits begins
  }

  async #cancel() {
    const job = await cancelJob(this.job);
    if (job) this.#state(job);
  }

  #follow() {
    const source = new EventSource(withQuery(at`/v1/jobs/${this.job.id}/stream`, { language }));
    const close = () => source.close();
    this.signal.addEventListener("abort", close, { once: true });
    source.addEventListener("progress", (event) => this.#event(JSON.parse(event.data)));
    source.addEventListener("state", (event) => {
      close();
      this.#state(JSON.parse(event.data));
    });
    source.onopen = () => this.#refresh();
    source.onerror = () => {
      // the browser connects again by itself, unless the server refused
      if (source.readyState === EventSource.CLOSED) this.#refresh();
    };
  }

  async #refresh() {
    try {
      this.#state(await get(at`/v1/jobs/${this.job.id}`, { language }, { signal: this.signal }));
    } catch {
      // the stream tells the state later
    }
  }

  #state(job) {
    const ran = isRunning(this.job);
    this.job = job;
    this.#show();
    if (isRunning(job) || this.over) return;
    this.over = true;
    this.#draw();
    if (ran) say(t(`job.state.${job.state}`));
    this.ended(job);
  }

  #show() {
    const { job } = this;
    replace(this.badge, stateBadge(job));
    this.cancel.hidden = !isRunning(job);
    if (job.state === "queued") this.stage.textContent = t("job.waits");
    else if (this.stage.textContent === t("job.waits")) this.stage.textContent = t("job.begins");
    if (isRunning(job)) return;
    this.bar.hidden = true;
    this.stage.textContent = job.why ?? "";
    const seconds = job.started && job.ended ? (new Date(job.ended) - new Date(job.started)) / 1000 : null;
    this.facts.textContent = seconds === null ? "" : t("job.took", { duration: duration(seconds), at: moment(job.ended) });
  }

  #event(event) {
    const { event: kind, time, ...fields } = event;
    if (kind === "evaluated")
      this.#drawSoon(); // it interrupts the training, whose progress stays
    else if (typeof fields.step === "number" && typeof fields.steps === "number") this.#progress(kind, fields);
    else if (kind !== "note" && kind !== "checkpoint") this.#stage(sentence(kind, fields));
    if (typeof fields.loss === "number" && typeof fields.step === "number") this.#point("loss", fields.step, fields.loss);
    if (kind === "evaluated" && typeof fields.metric === "number") this.#point(fields.name ?? "metric", fields.step ?? 0, fields.metric);
    this.#note(kind, time, fields);
    this.#drawSoon();
  }

  #progress(kind, fields) {
    if (this.over) return;
    this.bar.hidden = false;
    this.bar.max = Math.max(1, fields.steps);
    this.bar.value = fields.step;
    const what = hasPhrase(`event.counted.${kind}`) ? t(`event.counted.${kind}`) : kind;
    const parts = [
      t("job.counted", { step: fields.step, steps: fields.steps, what }),
      typeof fields.loss === "number" && t("job.loss", { loss: number(fields.loss, 3) }),
      typeof fields.examples_per_second === "number" && t("job.speed", { rate: number(fields.examples_per_second, 0) }),
      typeof fields.seconds_left === "number" && t("job.left", { duration: duration(fields.seconds_left) }),
    ];
    this.facts.textContent = parts.filter(Boolean).join(" · ");
  }

  #stage(text) {
    if (this.over) return;
    this.stage.textContent = text;
    this.bar.hidden = false;
    this.bar.removeAttribute("value"); // it is not known how long this takes
    this.facts.textContent = "";
  }

  #point(name, x, y) {
    const points = this.curves.get(name) ?? [];
    points.push({ x, y });
    this.curves.set(name, points.length > 2 * MOST_POINTS ? points.filter((_, place) => place % 2 === 0) : points);
  }

  #note(kind, time, fields) {
    if (kind === "checkpoint" || (typeof fields.step === "number" && kind !== "evaluated")) return;
    const text = sentence(kind, fields);
    const when = new Date(1000 * time);
    this.list.append(
      h("li", { class: kind === "warning" ? "warning" : null }, h("time", { datetime: when.toISOString() }, clock(when)), text),
    );
    if (this.list.children.length > MOST_EVENTS) this.list.firstChild.remove();
  }

  #drawSoon() {
    this.timer ??= setTimeout(() => this.#draw(), DRAWING);
  }

  #draw() {
    clearTimeout(this.timer);
    this.timer = null;
    const drawn = [...this.curves].filter(([, points]) => points.length > 1);
    replace(
      this.charts,
      drawn.map(([name, points]) => this.#chart(name, points)),
    );
  }

  #chart(name, points) {
    const loss = name === "loss";
    const title = loss ? t("job.curve.loss") : metricName(name);
    const last = points.at(-1);
    const format = loss ? (value) => number(value, 3) : undefined;
    return h(
      "figure",
      {},
      h("figcaption", {}, title),
      lineChart({
        points,
        xName: t("job.curve.steps"),
        format,
        name: t("job.curve.about", { name: title, value: number(last.y, 3), step: last.x }),
      }),
    );
  }
}

/** Return an event in one line: the phrase for its kind, or the kind with its fields. */
function sentence(kind, fields) {
  if (hasPhrase(`event.${kind}`)) {
    const rounded = Object.entries(fields).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]);
    return t(`event.${kind}`, Object.fromEntries(rounded));
  }
  const about = Object.entries(fields).filter(([, value]) => ["string", "number"].includes(typeof value));
  const facts = about.map(([name, value]) => `${name} ${typeof value === "number" ? number(value, 3) : value}`);
  return `${kind.replaceAll("_", " ")}${facts.length ? `: ${facts.join(", ")}` : ""}`;
}

function clock(when) {
  return when.toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
