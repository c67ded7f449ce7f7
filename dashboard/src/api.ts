// Requests to the node: the session's key, JSON, and the stream of changes.

const BASE = "/dashboard/api";

// The half of the session that this origin keeps, its port included; the other half is a cookie that no script sees.
const KEY = "golem-dashboard-key";

export class Refused extends Error {
  constructor(
    readonly status: number,
    text: string,
  ) {
    super(text);
  }
}

/** The node could not be asked: it restarts, or is gone. */
export class Unreachable extends Error {}

// Only what this page keeps itself: a browser that keeps nothing still has it until it is closed.
let key: string | null = null;

function keyNow(): string {
  try {
    key = localStorage.getItem(KEY) ?? key;
  } catch {
    // Storage is off.
  }
  return key ?? "";
}

function keep(next: string | null): void {
  key = next;
  try {
    if (next === null) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Storage is off.
  }
}

export const hasKey = (): boolean => keyNow() !== "";

// Amounts in wei are larger than the numbers of JavaScript are exact.
function exact(_: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  const source = context?.source ?? "";
  return BigInt(/^\d+$/.test(source) ? source : value);
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { "x-dashboard-key": keyNow() };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch {
    throw new Unreachable("the node cannot be reached");
  }
  if (response.ok) return response;
  let text = `the node answered ${response.status}`;
  try {
    const told: unknown = (await response.json()).detail;
    if (typeof told === "string") text = told;
  } catch {
    // No JSON: the status says enough.
  }
  throw new Refused(response.status, text);
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await send(method, path, body);
  const text = await response.text();
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown) as T;
}

export const look = <T>(path: string): Promise<T> => call<T>("GET", path);

export const segment = encodeURIComponent;

/** Exchanges the secret of a login link for a session. */
export async function login(link: string): Promise<void> {
  const begun = await call<{ key: string }>("POST", "/login", { link });
  keep(begun.key);
}

export async function logout(): Promise<void> {
  try {
    await call("DELETE", "/session");
  } finally {
    keep(null);
  }
}

export const forget = (): void => keep(null);

/** Longest silence, in milliseconds: the node gives a sign of life every ten seconds. */
const SILENCE = 30_000;

/** Hands every server-sent event to `take`, until the stream ends. */
export async function stream(
  take: (event: string, data: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const response = await send("GET", "/live", undefined, signal);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = "";
  let data = "";
  for (;;) {
    // A tunnel may be gone without a word.
    const silent = setTimeout(() => void reader.cancel().catch(() => undefined), SILENCE);
    const read = await reader.read().catch(() => ({ done: true as const, value: undefined }));
    clearTimeout(silent);
    if (read.done) return;
    const lines = (rest + read.value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (event !== "") take(event, data);
        event = "";
        data = "";
      } else if (line.startsWith("event:")) event = line.slice(6).trim();
      else if (line.startsWith("data:")) data += line.slice(5).trimStart();
    }
  }
}
