/** A form for one model that other web pages contain: `/try/NAME#key=…`. It uses the key of its address and no session. */

import { h, replace } from "./dom.js";
import { field } from "./forms.js";
import { language, loadPhrases, t } from "./phrases.js";
import { AnswerCard } from "./serving/answer.js";

const name = decodeURIComponent(location.pathname.split("/").pop());
const key = new URLSearchParams(location.hash.slice(1)).get("key");

async function request(path, body) {
  const headers = { "Accept-Language": language };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: body ? "POST" : "GET", headers, credentials: "omit", body: body ? JSON.stringify(body) : undefined };
  const response = await fetch(path, options);
  const found = await response.json();
  if (!response.ok) throw new Error(found.detail ?? found.title ?? String(response.status));
  return found;
}

/** Show the form; the fields are those that the model needs. */
async function start() {
  document.documentElement.lang = language;
  await Promise.all(["common", "try", "serving"].map(loadPhrases));
  document.title = name;
  const main = h("main", { class: "embedded" });
  document.body.append(main);
  try {
    const path = `/v1/verticals/${encodeURIComponent(name)}`;
    form(main, await request(path), path);
  } catch (error) {
    main.append(problem(error));
  }
}

function form(main, vertical, path) {
  const optional = new Set(vertical.optional ?? []);
  const fields = Object.keys(vertical.fields ?? {}).filter((one) => !optional.has(one));
  const inputs = new Map(fields.map((one) => [one, h("textarea", { rows: 3, autocomplete: "off" })]));
  const results = h("div", { class: "answers", "aria-live": "polite" });
  const button = h("button", { type: "submit", class: "primary" }, t("try.ask"));
  const ask = async (event) => {
    event.preventDefault();
    const record = Object.fromEntries([...inputs].map(([one, input]) => [one, input.value]).filter(([, value]) => value.trim() !== ""));
    if (!Object.keys(record).length) return;
    button.disabled = true;
    const begin = performance.now();
    try {
      const found = await request(`${path}/predict`, { records: [record] });
      replace(results, new AnswerCard(vertical, found, record, (performance.now() - begin) / 1000).element);
    } catch (error) {
      replace(results, problem(error));
    }
    button.disabled = false;
  };
  main.append(
    h(
      "form",
      { onsubmit: ask },
      fields.map((one) => field(fields.length === 1 ? t("try.text") : one, inputs.get(one))),
      h("div", { class: "buttons" }, button),
      results,
    ),
  );
}

function problem(error) {
  return h("p", { class: "notice bad", role: "alert" }, error.message);
}

await start();
