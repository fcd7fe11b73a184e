// SPDX-License-Identifier: GPL-3.0-or-later
// The State API: one place that holds the token and asks.
import { learnClock } from "./time.js";

const KEY = "kubestead-token";
const TOKEN = /^[\x21-\x7e]+$/;

/** The API cannot be reached. */
export class UnreachableError extends Error {}

/** The API said no: `status`, and `message` in its own words. */
export class RefusedError extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

let token = sessionStorage.getItem(KEY);

export const hasToken = () => token !== null;
export const looksLikeToken = (text) => TOKEN.test(text);

export function keepToken(text) {
  token = text;
  sessionStorage.setItem(KEY, text);
}

export function forgetToken() {
  token = null;
  sessionStorage.removeItem(KEY);
}

/** Ask for `path`; give the response, or throw one of the two errors. */
export async function ask(path, { method = "GET", headers = {}, ...options } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...headers, Authorization: `Bearer ${token}` },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      ...options,
    });
  } catch (error) {
    throw new UnreachableError("the State API cannot be reached", { cause: error });
  }
  learnClock(response);
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  let detail;
  try {
    detail = (await response.json()).detail;
  } catch {
    // not the API's own answer: a proxy's, perhaps
  }
  if (typeof detail !== "string") detail = `the API answered ${response.status} ${response.statusText}`.trim();
  return new RefusedError(response.status, detail, Number(response.headers.get("retry-after")) || 0);
}

const TIMEOUT = 20_000;

export async function get(path) {
  return (await ask(path, { signal: AbortSignal.timeout(TIMEOUT) })).json();
}

export async function post(path, body) {
  const response = await ask(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
    signal: AbortSignal.timeout(TIMEOUT),
  });
  return response.json();
}

/** Who the token belongs to. An API that cannot tell gets a reader's page. */
export async function whoami() {
  try {
    return await get("/api/whoami");
  } catch (error) {
    if (error instanceof RefusedError && error.status === 404) return { scope: "read", name: null, mac: null };
    throw error;
  }
}
