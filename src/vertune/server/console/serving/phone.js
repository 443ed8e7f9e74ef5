/** Shows the address of a page as a QR code for a phone in the same network, or how the server would be reached from there. */

import { at, get } from "../api.js";
import { h } from "../dom.js";
import { attempt, dialog } from "../messages.js";
import { t } from "../phrases.js";

const COMMAND = "vertune serve --host 0.0.0.0 --tls-cert CERT.pem --tls-key KEY.pem";

/** Return the button that shows the code of the page of a model. */
export function phoneButton(vertical) {
  const open = async () => {
    const found = await attempt(() => get(at`/v1/verticals/${vertical.name}/phone`));
    if (found) await dialog(t("try.phone"), found.url ? code(found) : unreachable());
  };
  return h("button", { type: "button", onclick: open }, t("try.phone"));
}

function unreachable() {
  return [h("p", {}, t("try.phone.none")), h("pre", { tabindex: "0" }, COMMAND)];
}

function code({ url, svg }) {
  const source = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  return [
    h("p", {}, t("try.phone.text")),
    h("img", { class: "qr-code", src: source, alt: t("try.phone.code", { url }) }),
    h("p", { class: "qr-address" }, h("a", { href: url }, url)),
  ];
}
