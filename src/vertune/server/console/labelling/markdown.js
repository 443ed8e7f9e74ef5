/** Shows guidelines: headings, lists, quotes, code, emphasis and links of Markdown, built as elements, so that no text becomes HTML. */

import { h } from "../dom.js";

const INLINE = /(`[^`]+`)|(\*\*[^*]+\*\*)|(\*[^*\s][^*]*\*)|(\[[^\]]+\]\([^()\s]+\))/;

/** Return a list of elements for a text in Markdown; its headings begin at `level`. */
export function markdown(text, level = 3) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const found = [];
  while (lines.length) found.push(block(lines, level));
  return found.filter(Boolean);
}

function block(lines, level) {
  const line = lines[0];
  if (!line.trim()) return void lines.shift();
  if (line.startsWith("```")) return fenced(lines);
  const heading = /^(#{1,6})\s+(.*)$/.exec(line);
  if (heading) {
    lines.shift();
    return h(`h${Math.min(6, level + heading[1].length - 1)}`, {}, inline(heading[2]));
  }
  if (/^\s*[-*]\s+/.test(line)) return items(lines, "ul", /^\s*[-*]\s+/);
  if (/^\s*\d+[.)]\s+/.test(line)) return items(lines, "ol", /^\s*\d+[.)]\s+/);
  if (line.startsWith(">")) {
    const quoted = taken(lines, (one) => one.startsWith(">")).map((one) => one.slice(1).trim());
    return h("blockquote", {}, inline(quoted.join(" ")));
  }
  const paragraph = [lines.shift(), ...taken(lines, (one) => one.trim() && !/^(#|>|```|\s*[-*]\s|\s*\d+[.)]\s)/.test(one))];
  return h("p", {}, inline(paragraph.join("\n")));
}

function fenced(lines) {
  lines.shift();
  const code = taken(lines, (line) => !line.startsWith("```"));
  lines.shift();
  return h("pre", {}, h("code", {}, code.join("\n")));
}

function items(lines, tag, mark) {
  return h(tag, {}, taken(lines, (line) => mark.test(line)).map((line) => h("li", {}, inline(line.replace(mark, "")))));
}

function taken(lines, fits) {
  const end = lines.findIndex((line) => !fits(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

function inline(text) {
  const found = INLINE.exec(text);
  if (!found) return [text];
  const [whole, code, strong, emphasis] = found;
  const before = text.slice(0, found.index);
  const after = inline(text.slice(found.index + whole.length));
  if (code) return [before, h("code", {}, code.slice(1, -1)), ...after];
  if (strong) return [before, h("strong", {}, inline(strong.slice(2, -2))), ...after];
  if (emphasis) return [before, h("em", {}, inline(emphasis.slice(1, -1))), ...after];
  return [before, anchor(whole), ...after];
}

/** Return a link that leads to a page of the web, and else its text. */
function anchor(whole) {
  const [, label, target] = /^\[([^\]]+)\]\(([^()\s]+)\)$/.exec(whole);
  if (!/^https?:\/\//i.test(target)) return label;
  return h("a", { href: target, target: "_blank", rel: "noopener noreferrer" }, label);
}
