/** Creates elements. Data only ever become text or attributes, never HTML. */

const SVG = "http://www.w3.org/2000/svg";
/** Properties that must be set on the object, because the attribute is only the initial value. */
const PROPERTIES = new Set(["value", "checked", "selected", "indeterminate", "disabled", "hidden", "open", "htmlFor"]);

/**
 * Return a new element: h("button", {class: "primary", onclick: save}, text).
 *
 * `attributes` may contain functions named `on…`, which become listeners, and `vars`, an object of CSS custom properties.
 * An attribute that is null, undefined or false is left out. Children are nodes, texts, numbers, lists of these, or null.
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return a new SVG element, as `h` does. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  append(element, children);
  return element;
}

function setAttribute(element, name, value) {
  if (name.startsWith("on") && typeof value === "function") {
    element.addEventListener(name.slice(2), value);
  } else if (name === "vars") {
    for (const [key, one] of Object.entries(value)) element.style.setProperty(`--${key}`, one);
  } else if (PROPERTIES.has(name)) {
    element[name] = value ?? (typeof element[name] === "boolean" ? false : "");
  } else if (value !== null && value !== undefined && value !== false) {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Add children to an element; see `h`. */
export function append(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false && child !== "") element.append(child);
  }
}

/** Replace what an element contains. */
export function replace(element, ...children) {
  const fragment = document.createDocumentFragment();
  append(fragment, children);
  element.replaceChildren(fragment);
}

let last = 0;
/** Return an id that no other element has. */
export function freshId(name) {
  last += 1;
  return `${name}-${last}`;
}
