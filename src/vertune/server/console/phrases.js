/** Texts in the language of the person, with plural forms, numbers, dates and durations as this language writes them. */

import { preference } from "./preferences.js";

export const LANGUAGES = { en: "English", zh: "中文" };
const catalogue = new Map();
/** The groups of texts that are loaded, or on their way, each with its promise. */
const groups = new Map();

/** The language: `?lang=` of the address, else the choice in this browser, else the first one of the browser that there is. */
export const language = chosen();

function chosen() {
  const asked = new URLSearchParams(location.search).get("lang");
  const wanted = [asked, preference("language", null), ...(navigator.languages ?? [])].filter(Boolean);
  for (const one of wanted) {
    const short = one.toLowerCase().split("-")[0];
    if (short in LANGUAGES) return short;
  }
  return "en";
}

const locale = language === "zh" ? "zh-CN" : "en";
const plurals = new Intl.PluralRules(locale);
const lists = new Intl.ListFormat(locale, { type: "conjunction", style: "narrow" });

/** Load the texts of a page, `phrases/LANGUAGE/GROUP.json`. */
export function loadPhrases(group) {
  if (!groups.has(group)) {
    const loading = fetchPhrases(group);
    groups.set(group, loading);
    loading.catch(() => groups.delete(group)); // the next attempt asks again
  }
  return groups.get(group);
}

async function fetchPhrases(group) {
  const response = await fetch(new URL(`./phrases/${language}/${group}.json`, import.meta.url));
  if (!response.ok) throw new Error(`phrases/${language}/${group}.json: ${response.status}`);
  for (const [key, phrase] of Object.entries(await response.json())) catalogue.set(key, phrase);
}

/**
 * Return a text. `values` replace {NAME}; numbers are formatted. A text with plural forms is chosen by the value `count`.
 *
 * A text that does not exist is shown as its key, which a test of the catalogues prevents.
 */
export function t(key, values = {}) {
  let phrase = catalogue.get(key);
  if (phrase === undefined) return key;
  if (typeof phrase === "object") phrase = phrase[plurals.select(values.count ?? 0)] ?? phrase.other;
  return phrase.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? number(value) : String(value);
  });
}

/** Return whether there is a text. */
export function hasPhrase(key) {
  return catalogue.has(key);
}

/** Return a number as text, with at most so many decimals. */
export function number(value, decimals = 2) {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: decimals }).format(value);
}

/** Return a fraction as a percentage. */
export function percent(value, decimals = 0) {
  return new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: decimals }).format(value);
}

/** Return a time, a text in ISO 8601, in the zone of the browser. */
export function moment(iso) {
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

/** Return seconds as a duration of at most two units, such as "3 h 5 min". */
export function duration(seconds) {
  const unit = (value, name) => new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay: "short" }).format(value);
  const whole = Math.round(seconds);
  if (seconds < 10) return unit(Math.round(seconds * 10) / 10, "second");
  if (whole < 60) return unit(whole, "second");
  if (whole < 3600) return `${unit(Math.floor(whole / 60), "minute")} ${unit(whole % 60, "second")}`;
  return `${unit(Math.floor(whole / 3600), "hour")} ${unit(Math.floor((whole % 3600) / 60), "minute")}`;
}

/** Return texts as a list in one text. */
export function listed(texts) {
  return lists.format(texts);
}

/** Return the size of a file as text. */
export function bytes(size) {
  const names = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let place = 0;
  let value = size;
  while (value >= 1000 && place < names.length - 1) {
    value /= 1000;
    place += 1;
  }
  return new Intl.NumberFormat(locale, { style: "unit", unit: names[place], maximumFractionDigits: 1 }).format(value);
}
