/** Who uses the console, and what this person may do. */

import { get, send, useSession } from "./api.js";
import { signal } from "./signals.js";

/** The session: {name, role, customer, scopes, token, open}; null if nobody is signed in. */
export const session = signal(null);

/** Milliseconds after which the server is asked again, which gives a new cookie now and then. */
const RENEWED = 20 * 60 * 1000;

/** Ask the server who is signed in in this browser, now and again while the console is open. */
export async function restoreSession() {
  await ask();
  setInterval(() => session.value && !session.value.open && ask().catch(() => {}), RENEWED); // while offline, the next time is enough
}

async function ask() {
  try {
    begin(await get("/v1/session"));
  } catch (error) {
    if (error.status !== 401) throw error;
    end();
  }
}

/** Sign in with {name, password} or {key}. */
export async function signIn(credentials) {
  begin(await send("POST", "/v1/session", credentials));
}

/** End the session of this browser. */
export async function signOut() {
  await send("DELETE", "/v1/session");
  end();
}

/** Return whether the person may do what needs this scope; `admin` includes all others. */
export function may(scope) {
  const scopes = session.value?.scopes ?? [];
  return !scope || scopes.includes(scope) || scopes.includes("admin");
}

/** Return a text that identifies the person among all who use this browser. */
export function identity() {
  return session.value ? `${session.value.customer ?? ""}/${session.value.name}` : "";
}

function begin(found) {
  useSession(found.token, end);
  const same = session.value && JSON.stringify(session.value) === JSON.stringify(found);
  if (!same) session.value = found;
}

function end() {
  useSession(null, end);
  session.value = null;
}
