"""What makes a page of the console hard to use without a mouse, with a screen reader or with weak eyes, by rules of our own.

The rules follow WCAG 2.2 (success criteria in brackets): controls and pictures have names (4.1.2, 1.1.1), texts have a contrast of 4.5, or
3 if they are large (1.4.3), the page has a language, a title and one main landmark (3.1.1, 2.4.2, 1.3.1), navigations that are several have
names, headings skip no level (1.3.1), ids that attributes refer to exist, the order of focus is that of the page (2.4.3), what scrolls can
be reached by keyboard (2.1.1), and controls are at least 24 pixels high (2.5.8). Knows no page.
"""

from __future__ import annotations

from vertune.testing.chromium import Chromium

_SHARED = """
const root = document.querySelector(host)?.shadowRoot ?? document;
const shown = (one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && one.getClientRects().length > 0;
const about = (one) => one.outerHTML.slice(0, 160);
const all = (selector) => [...root.querySelectorAll(selector)].filter(shown);
if (!root.still) {  // colours on their way from one theme to the other have no contrast of their own
  const still = new CSSStyleSheet();
  still.replaceSync("* { transition: none !important; animation: none !important }");
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, still];
  root.still = true;
}
"""
_NAMES = """
const byId = (ids) => (ids ?? "").split(/\\s+/).map((id) => root.getElementById(id)?.textContent ?? "").join(" ");
const inside = (one) => [...one.querySelectorAll("img[alt], [aria-label]")].map((part) => part.alt || part.ariaLabel).join(" ");
const named = (one) => [
  one.ariaLabel, byId(one.getAttribute("aria-labelledby")), ...[...(one.labels ?? [])].map((label) => label.textContent), one.alt,
  one.title, one.matches("input, select, textarea, progress, nav, dialog") ? "" : `${one.textContent} ${inside(one)}`,
].some((text) => text?.trim());
const controls = all("button, a[href], input:not([type=hidden]), select, textarea, summary, progress, meter, dialog, [role=button], img");
for (const one of [...controls, ...all("svg[role=img]")])
  if (!named(one) && !one.closest("[aria-hidden=true]")) found.push(`no name: ${about(one)}`);
"""
_STRUCTURE = """
if (!document.documentElement.lang) found.push("no language");
if (!document.title.trim()) found.push("no title");
if (all("main").length !== 1) found.push(`${all("main").length} main landmarks`);
const navigations = all("nav");
const names = navigations.map((one) => one.ariaLabel ?? "");
if (navigations.length > 1 && new Set(names.filter(Boolean)).size < names.length) found.push(`navigations are called ${names}`);
const levels = all("main :is(h1, h2, h3, h4)").map((one) => Number(one.tagName[1]));
if (levels[0] !== 1 || levels.filter((level) => level === 1).length !== 1) found.push(`headings begin with ${levels}`);
if (levels.some((level, place) => place && level > levels[place - 1] + 1)) found.push(`headings skip a level: ${levels}`);
const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
for (const id of new Set(ids.filter((id, place) => ids.indexOf(id) !== place))) found.push(`the id ${id} is there twice`);
for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"])
  for (const one of document.querySelectorAll(`[${name}]`))
    for (const id of one.getAttribute(name).split(/\\s+/)) if (!ids.includes(id)) found.push(`${name} names no element: ${about(one)}`);
for (const one of all("th")) if (!one.hasAttribute("scope")) found.push(`no scope: ${about(one)}`);
"""
_FOCUS = """
const focusable = "button, a[href], input, select, textarea, summary, [tabindex]";
const reached = all(focusable).filter((one) => !one.disabled && one.tabIndex >= 0);
for (const one of reached) if (one.tabIndex > 0) found.push(`jumps the order of focus: ${about(one)}`);
for (const one of all("button, a[href], input, select, textarea"))
  if (one.tabIndex < 0 && !one.disabled) found.push(`can't be reached by keyboard: ${about(one)}`);
const inMain = reached.filter((one) => one.closest("main") && !one.classList.contains("visually-hidden"));
inMain.forEach((one, place) => {
  const [before, after] = [inMain[place - 1]?.getBoundingClientRect(), one.getBoundingClientRect()];
  if (before && after.bottom <= before.top && after.left < before.right && before.left < after.right)
    found.push(`gets the focus after what is below it: ${about(one)}`);
});
for (const one of all("main *")) {
  const scrolls = ["auto", "scroll"].includes(getComputedStyle(one).overflowX) && one.scrollWidth > one.clientWidth + 1;
  if (scrolls && one.tabIndex < 0 && !one.querySelector(focusable)) found.push(`scrolls, but not by keyboard: ${about(one)}`);
}
for (const one of all("button, select, input:not([type=checkbox], [type=radio], [type=file], .visually-hidden)"))
  if (one.getBoundingClientRect().height < 24) found.push(`lower than 24 pixels: ${about(one)}`);
"""
_CONTRAST = """
const pixel = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const colours = new Map();
const colour = (css) => {
  if (!colours.has(css)) {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = css;
    pixel.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pixel.getImageData(0, 0, 1, 1).data;
    colours.set(css, [red, green, blue, alpha / 255]);
  }
  return colours.get(css);
};
const over = (top, below) => below.slice(0, 3).map((value, place) => top[3] * top[place] + (1 - top[3]) * value);
const ground = (one) => {
  if (!one) return [255, 255, 255];
  const own = colour(getComputedStyle(one).backgroundColor);
  return own[3] === 1 ? own : over(own, ground(one.parentElement));
};
const luminance = (rgb) => {
  const parts = rgb.slice(0, 3).map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const texts = document.createTreeWalker(root.body ?? root, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (texts.nextNode()) {
  const one = texts.currentNode.parentElement;
  const left = "[aria-hidden=true], :disabled, svg, .visually-hidden, option";
  if (seen.has(one) || !texts.currentNode.data.trim() || !shown(one) || one.closest(left)) continue;
  seen.add(one);
  const style = getComputedStyle(one);
  let opacity = 1;
  for (let part = one; part; part = part.parentElement) opacity *= Number(getComputedStyle(part).opacity);
  const below = ground(one);
  const [red, green, blue, alpha] = colour(style.color);
  const front = over([red, green, blue, alpha * opacity], below);
  const [dark, light] = [luminance(front), luminance(below)].sort((a, b) => a - b);
  const size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < least) found.push(`contrast ${ratio.toFixed(2)} of ${style.color} on ${below.map(Math.round)}: ${about(one)}`);
}
"""


def problems(chromium: Chromium, dark: bool = False, host: str = "") -> list[str]:
    """Return what is wrong with the page that is shown; contrast is computed in both themes, and the one of `dark` is shown afterwards.

    `host` is the selector of an element whose shadow tree is looked at instead; the structure of the page is not its matter.
    """
    begin = f"const found = [], host = arguments[0] || 'none'; {_SHARED}"
    found = chromium.run(f"{begin} {_NAMES} {'' if host else _STRUCTURE} {_FOCUS} return found", host)
    for theme in (not dark, dark):
        chromium.theme(theme)
        shown = "new Promise(requestAnimationFrame)"  # which is called after the listeners of the theme
        seen = chromium.run(f"return {shown}.then(() => {{ {begin} {_CONTRAST} return found }})", host)
        found += [f"{'dark' if theme else 'light'}: {one}" for one in seen]
    return found
