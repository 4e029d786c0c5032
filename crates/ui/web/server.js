// Questions to the node and the stream of what happens.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.error ?? response.statusText);
  return body;
}

/** Asks; `parameters` are pairs, because a name may be given several times. */
export async function ask(path, parameters = []) {
  const query = new URLSearchParams(parameters).toString();
  return answer(await fetch(`/api/${path}${query ? `?${query}` : ""}`, { credentials: "same-origin" }));
}

export async function logIn(token) {
  const headers = { "content-type": "application/json" };
  await answer(await fetch("/api/session", { method: "POST", headers, body: JSON.stringify({ token }) }));
}

export async function logOut() {
  await fetch("/api/session", { method: "DELETE" });
}

/** Follows the stream; `on` has a function for each kind of event, and `state`. Answers how to end it. */
export function follow(parameters, on) {
  const source = new EventSource(`/api/stream?${new URLSearchParams(parameters)}`);
  source.onopen = () => on.state("live");
  source.onerror = () => on.state(source.readyState === EventSource.CLOSED ? "closed" : "reconnecting");
  for (const kind of ["map", "flows", "status"]) {
    source.addEventListener(kind, (event) => on[kind](JSON.parse(event.data)));
  }
  return () => source.close();
}
