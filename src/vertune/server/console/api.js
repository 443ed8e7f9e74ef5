/** Requests to the REST API of this server: session token, errors with their messages, and repetition where it is harmless. */

import { language, t } from "./phrases.js";
import { signal } from "./signals.js";

/** The token that requests with changes must send, from the session. */
let token = null;
/** Called when the server no longer accepts the session. */
let onSignedOut = () => {};
/** Milliseconds after which a saved file is forgotten here. */
const LATER = 60_000;
/** Whether the last request reached the server. */
export const online = signal(true);

/** Use a token from now on, and call `signedOut` when a request is refused because there is no session. */
export function useSession(newToken, signedOut) {
  token = newToken;
  onSignedOut = signedOut ?? onSignedOut;
}

/** Return the token that requests with changes must send, for requests that are not made here. */
export function csrfToken() {
  return token;
}

/** An error response of the server, or status 0 if the server can't be reached. */
export class ApiError extends Error {
  constructor(status, title, detail, wait = 0) {
    super(detail);
    this.status = status;
    this.title = title;
    /** Milliseconds that the server asks to wait. */
    this.wait = wait;
  }

  /** Whether the same request may succeed later. */
  get temporary() {
    return this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

/** Return milliseconds before the attempt `number` (from 0), growing and with a random part, at least those the server asked for. */
export function backOff(number, wait = 0) {
  const limit = Math.min(30_000, 500 * 2 ** number);
  return Math.max(wait, limit / 2 + (Math.random() * limit) / 2);
}

/** Return what the server answers to GET, with `query` in the address. Repeated up to three times while it is not reachable. */
export function get(path, query = {}, options = {}) {
  return request("GET", withQuery(path, query), undefined, { attempts: 3, ...options });
}

/** Send a change with a JSON body, and return the answer (null if it is empty). */
export function send(method, path, body, options = {}) {
  return request(method, path, body, options);
}

/** Save a file of the server under the name that it gives it. Throws the error of the server before anything is saved. */
export async function download(path) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", headers: { "Accept-Language": language } });
  } catch {
    online.value = false;
    throw new ApiError(0, "Offline", "");
  }
  online.value = true;
  if (!response.ok) throw await problem(response, path);
  const name = response.headers.get("Content-Disposition")?.match(/filename\*=UTF-8''([^;]+)/)?.[1];
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name ? decodeURIComponent(name) : "";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), LATER);
}

/** Return a path with a query; values that are null, undefined or empty are left out. */
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Return a path whose {…} parts are encoded: at`/v1/projects/${name}/labels`. */
export function at(parts, ...values) {
  return parts.reduce((path, part, place) => path + encodeURIComponent(values[place - 1]) + part);
}

async function request(method, path, body, { attempts = 1, signal: stop, headers = {}, keepalive = false } = {}) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await once(method, path, body, { stop, headers, keepalive });
    } catch (error) {
      if (!(error instanceof ApiError) || !error.temporary || attempt + 1 >= attempts) throw error;
      await pause(backOff(attempt, error.wait), stop);
    }
  }
}

async function once(method, path, body, { stop, headers, keepalive }) {
  const sent = { Accept: "application/json", "Accept-Language": language, ...headers };
  const raw = body instanceof Blob;
  if (body !== undefined && !raw) sent["Content-Type"] = "application/json";
  if (method !== "GET" && token) sent["X-CSRF-Token"] = token;
  let response;
  try {
    const content = body === undefined || raw ? body : JSON.stringify(body);
    response = await fetch(path, { method, headers: sent, body: content, signal: stop, keepalive, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    online.value = false;
    throw new ApiError(0, "Offline", "");
  }
  online.value = true;
  if (response.ok) return response.status === 204 ? null : read(response);
  throw await problem(response, path);
}

async function read(response) {
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

async function problem(response, path) {
  let about = {};
  try {
    about = await response.json();
  } catch {
    // an error of a proxy, which is no JSON
  }
  const wait = Number(response.headers.get("Retry-After-Ms")) || 1000 * Number(response.headers.get("Retry-After")) || 0;
  const detail = about.detail ?? t("messages.status", { status: String(response.status) });
  const error = new ApiError(response.status, about.title ?? "", detail, wait);
  if (response.status === 401 && !path.startsWith("/v1/session")) onSignedOut();
  return error;
}

/** Wait some milliseconds; throws if `stop` is aborted meanwhile. */
export function pause(milliseconds, stop) {
  return new Promise((resolve, reject) => {
    stop?.throwIfAborted();
    const ended = () => {
      clearTimeout(timer);
      reject(stop.reason);
    };
    const timer = setTimeout(() => {
      stop?.removeEventListener("abort", ended);
      resolve();
    }, milliseconds);
    stop?.addEventListener("abort", ended, { once: true });
  });
}
