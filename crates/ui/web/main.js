// Puts the page together: logging in, the address, the stream, and who redraws when.

import { $, copy, el, say, short } from "./dom.js";
import { EdgeList } from "./edges.js";
import { Filters, KEYS, local, moment } from "./filters.js";
import { Drawing, Services, sum, denied } from "./map.js";
import { Panel } from "./panel.js";
import { ask, follow, logIn, logOut, Refused } from "./server.js";
import { COLUMNS, FlowTable } from "./table.js";

const services = new Services();
let filters = new Filters();
let stop = () => {};
let paused = false;
let turn = 0;
const news = { flows: 0, dropped: 0, skipped: 0, at: 0 };

const open = {
  edge: (id, from) => { drawing.select(id); table.choose(null); panel.edge(id, from); },
  node: (id, from) => { drawing.select(id); table.choose(null); panel.node(id, from); },
};
const panel = new Panel($("panel"), services, () => { drawing.select(null); table.choose(null); }, (name, value) => {
  filters.add(name, value);
  changed();
});
const drawing = new Drawing($("map"), open);
const edges = new EdgeList($("edges"), open);
const table = new FlowTable($("table"), $("newer"), (row, from) => { drawing.select(null); panel.flow(row, from); });

function redraw() {
  const seen = services.visible(filters.hide);
  if ($("map").hidden) edges.draw(seen);
  else drawing.draw(seen);
  const refused = seen.edges.filter((edge) => denied(edge.recent) > 0).length;
  say($("map-count"), `${seen.nodes.length} services, ${seen.edges.length} connections${refused ? `, ${refused} denied in the last minute` : ""}`);
}

let waiting = false;
/** Many changes, one drawing. */
function soon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; redraw(); });
}

function state(name, text = name) {
  $("state").dataset.state = name;
  say($("state-text"), text);
}

const on = {
  state(name) {
    if (name === "closed") begin();
    else state(name);
  },
  map(change) {
    services.update(change);
    soon();
  },
  flows(new_) {
    // Who looks at the past sees that, and the map goes on.
    if (filters.past()) return;
    table.add(new_.rows);
    news.flows += new_.rows.length + new_.skipped;
    news.dropped += new_.rows.filter((row) => row.verdict === "DROPPED").length;
    news.skipped += new_.skipped + new_.lost;
    count();
    announce();
  },
  status(status) {
    say($("node-name"), status.node_name);
    const feed = status.feed;
    const lost = feed.overwritten + feed.shed;
    state("live", `live, ${short(feed.per_second)} flows/s${lost ? `, ${short(lost)} lost` : ""}`);
    picker(status.namespaces);
  },
};

function count() {
  say($("flow-count"), `${table.rows.length} shown${news.skipped ? `, ${short(news.skipped)} more came too fast to show` : ""}`);
}

/** Tells a screen reader how things go, now and then. */
function announce() {
  const now = Date.now();
  if (now - news.at < 15000 || !news.flows) return;
  news.at = now;
  say($("announcer"), `${news.flows} new flows, ${news.dropped} dropped`);
  news.flows = 0;
  news.dropped = 0;
}

function picker(spaces) {
  const select = $("namespace");
  const names = new Set(spaces.map((space) => space.name));
  if (filters.namespace) names.add(filters.namespace);
  const wanted = ["", ...[...names].sort()];
  if (wanted.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  select.replaceChildren(...wanted.map((name) => el("option", { value: name }, name || "all")));
  select.value = filters.namespace;
}

/** The filters are others now: everything is asked anew. */
function changed() {
  history.replaceState(null, "", `#${filters.toHash()}`);
  controls();
  load();
}

function controls() {
  for (const button of $("verdicts").children) button.setAttribute("aria-pressed", String(button.dataset.verdict === filters.verdict));
  for (const box of $("hide").querySelectorAll("input")) box.checked = filters.hide.has(box.value);
  $("since").value = local(filters.since);
  $("until").value = local(filters.until);
  $("live").hidden = !filters.past();
  if ($("text").value.trim() !== filters.text) $("text").value = filters.text;
  if (![...$("namespace").options].some((option) => option.value === filters.namespace)) picker([]);
  $("namespace").value = filters.namespace;
  const label = (name) => KEYS.find(([key]) => key === name)?.[1] ?? name;
  $("filter-list").replaceChildren(...filters.list.map(([name, value, negated], at) => el("li", null,
    `${label(name)} ${negated ? "is not" : "is"} ${value} `,
    el("button", { type: "button", ariaLabel: `Remove the filter ${label(name)} ${value}`, onclick: () => { filters.remove(at); changed(); $("filter-value").focus(); } }, "✕"))));
}

async function load() {
  const mine = ++turn;
  stop();
  say($("filter-error"), "");
  try {
    const parameters = filters.parameters();
    const past = filters.past();
    if (past) say($("flow-count"), "looking…");
    const { rows, end, kept, cut } = await ask("flows", [...parameters, ...filters.span(), ["last", past ? "1000" : "300"]]);
    if (mine !== turn) return;
    table.set(rows);
    Object.assign(news, { flows: 0, dropped: 0, skipped: 0 });
    count();
    if (past) {
      const short_of = cut ? ", the newest that were found in time" : rows.length === 1000 ? ", the newest of the span" : "";
      say($("flow-count"), `${rows.length} shown${short_of}${kept ? "" : "; from memory, this node keeps no history"}`);
    }
    if (paused) return;
    stop = follow([...parameters, ["map", filters.namespace], ["since", String(end)]], on);
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof Refused && error.status === 401) return showLogin();
    if (error instanceof Refused && error.status === 400) {
      say($("filter-error"), error.message);
      return;
    }
    state("reconnecting");
    setTimeout(() => mine === turn && load(), 2000);
  }
}

function showLogin(message = "") {
  stop();
  $("app").hidden = true;
  $("controls").hidden = true;
  $("login").hidden = false;
  state("closed", "not logged in");
  say($("login-error"), message);
  $("token").focus();
}

async function begin() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given !== null) {
    // Out of the address and its history before anything else.
    const rest = new URLSearchParams(location.hash.slice(1));
    rest.delete("token");
    history.replaceState(null, "", `#${rest}`);
    try {
      await logIn(given);
    } catch (error) {
      return showLogin(error.message);
    }
  }
  try {
    on.status(await ask("status"));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return showLogin();
    state("reconnecting");
    setTimeout(begin, 2000);
    return;
  }
  $("login").hidden = true;
  $("app").hidden = false;
  $("controls").hidden = false;
  filters = Filters.fromHash(location.hash.slice(1));
  controls();
  load();
}

const THEMES = ["system", "light", "dark"];
function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  say($("theme"), `Theme: ${name}`);
  try { localStorage.setItem("sluice-theme", name); } catch { /* the choice lasts as long as the page */ }
}

function view(list) {
  $("map").hidden = list;
  $("zoom").hidden = list;
  $("edges").hidden = !list;
  $("as-map").setAttribute("aria-pressed", String(!list));
  $("as-list").setAttribute("aria-pressed", String(list));
  redraw();
}

function wire() {
  let chosen = "system";
  try { chosen = localStorage.getItem("sluice-theme") ?? chosen; } catch { /* as above */ }
  theme(THEMES.includes(chosen) ? chosen : "system");
  $("theme").onclick = () => theme(THEMES[(THEMES.indexOf($("theme").textContent.slice(7)) + 1) % THEMES.length]);
  $("logout").onclick = async () => { await logOut(); showLogin(); };
  $("login-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await logIn($("token").value);
      $("token").value = "";
      begin();
    } catch (error) {
      say($("login-error"), error.message);
    }
  };
  $("namespace").onchange = () => { filters.namespace = $("namespace").value; drawing.forget(); changed(); };
  $("hide").onchange = () => {
    filters.hide = new Set([...$("hide").querySelectorAll("input:checked")].map((box) => box.value));
    redraw();
    changed();
  };
  $("verdicts").onclick = (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    filters.verdict = button.dataset.verdict;
    changed();
  };
  let typing;
  $("text").oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(() => { filters.text = $("text").value.trim(); changed(); }, 250);
  };
  for (const name of ["since", "until"]) {
    $(name).onchange = () => { filters[name] = moment($(name).value); changed(); };
  }
  $("live").onclick = () => { filters.since = ""; filters.until = ""; changed(); $("since").focus(); };
  $("filter-key").replaceChildren(...KEYS.map(([name, label]) => el("option", { value: name }, label)));
  const propose = () => {
    const values = KEYS.find(([name]) => name === $("filter-key").value)?.[2] ?? [];
    $("filter-values").replaceChildren(...values.map((value) => el("option", { value })));
  };
  $("filter-key").onchange = propose;
  propose();
  $("filter-form").onsubmit = (event) => {
    event.preventDefault();
    filters.add($("filter-key").value, $("filter-value").value.trim(), $("filter-not").checked);
    $("filter-value").value = "";
    $("filter-not").checked = false;
    changed();
  };
  $("column-list").replaceChildren(...COLUMNS.slice(1).map(([name, label]) => el("label", null,
    el("input", { type: "checkbox", value: name, checked: table.columns.some((column) => column[0] === name) }), ` ${label}`)));
  $("column-list").onchange = () => table.show(new Set([...$("column-list").querySelectorAll("input:checked")].map((box) => box.value)));
  document.addEventListener("click", (event) => { if (!$("columns").contains(event.target)) $("columns").open = false; });
  $("columns").onkeydown = (event) => {
    if (event.key !== "Escape" || !$("columns").open) return;
    $("columns").open = false;
    $("columns").firstElementChild.focus();
    event.stopPropagation();
  };
  $("copy-observe").onclick = () => copy(filters.command(), "The command was");
  $("pause").onclick = () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    say($("pause"), paused ? "Resume" : "Pause");
    if (paused) {
      stop();
      state("paused");
    } else load();
  };
  $("as-map").onclick = () => view(false);
  $("as-list").onclick = () => view(true);
  $("zoom-in").onclick = () => drawing.zoom(drawing.scale * 1.2);
  $("zoom-out").onclick = () => drawing.zoom(drawing.scale / 1.2);
  $("zoom-fit").onclick = () => drawing.fit();
  $("arrange").onclick = () => { drawing.forget(); redraw(); };
  // The part behind the # holds the filters, so these links move the focus themselves.
  for (const link of document.querySelectorAll(".skip")) {
    link.onclick = (event) => { event.preventDefault(); $(link.hash.slice(1)).focus(); };
  }
  window.addEventListener("hashchange", begin);
}

wire();
begin();
