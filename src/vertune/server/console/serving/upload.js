/** Sends a file with records to the server, and tells how much of it is sent. */

import { ApiError, csrfToken, withQuery } from "../api.js";
import { language, t } from "../phrases.js";

/** The media types of the endings of files that the server reads. */
export const MEDIA = {
  csv: "text/csv",
  tsv: "text/csv",
  jsonl: "application/x-ndjson",
  ndjson: "application/x-ndjson",
  parquet: "application/vnd.apache.parquet",
};
export const ACCEPTED = Object.keys(MEDIA)
  .map((ending) => `.${ending}`)
  .join(",");

/**
 * Send a file; resolves to what the server found in it. `progress(share)` is called with the share that is sent, and with null while the
 * server reads it. `signal` stops the upload.
 */
export function uploadFile(file, progress, signal) {
  const type = MEDIA[file.name.split(".").at(-1).toLowerCase()];
  if (!type) return Promise.reject(new ApiError(415, "", t("serving.upload.type", { name: file.name })));
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", withQuery("/v1/datasets", { name: file.name.slice(0, 120) }));
    request.setRequestHeader("Content-Type", type);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Accept-Language", language);
    if (csrfToken()) request.setRequestHeader("X-CSRF-Token", csrfToken());
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.upload.onload = () => progress(null);
    request.onload = () => {
      const answer = parsed(request.responseText);
      const detail = answer?.detail ?? t("messages.status", { status: String(request.status) });
      if (request.status === 201) resolve(answer);
      else reject(new ApiError(request.status, answer?.title ?? "", detail));
    };
    request.onerror = () => reject(new ApiError(0, "Offline", ""));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // an error of a proxy, which is no JSON
  }
}
