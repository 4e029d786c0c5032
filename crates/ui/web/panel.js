// The side panel: everything about one flow, edge or node; why it was refused; what would allow it.

import { $, badge, copy, el, port, short } from "./dom.js";
import { quote } from "./filters.js";
import { look, served, sum } from "./map.js";
import { ask } from "./server.js";

const nameOf = (rule) => (rule.namespace ? `${rule.namespace}/${rule.name}` : rule.name);
const place = (rule) => (rule.file ? `${rule.file}:${rule.line}` : "");

function ruleList(rules) {
  return el("ul", { class: "rules" }, rules.map((rule) => el("li", null,
    el("strong", null, nameOf(rule)), " ", el("span", { class: "muted" }, rule.kind ?? ""), el("br"), el("code", null, place(rule)))));
}

function list(pairs) {
  return el("dl", null, pairs.filter(([, value]) => value !== "" && value !== undefined && value !== null)
    .flatMap(([name, value]) => [el("dt", null, name), el("dd", null, value)]));
}

const chips = (labels) => (labels?.length ? el("ul", { class: "chips labels" }, labels.map((label) => el("li", null, label))) : "");

export class Panel {
  constructor(box, services, onclose, addFilter) {
    this.box = box;
    this.services = services;
    this.onclose = onclose;
    this.addFilter = addFilter;
    this.turn = 0;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !box.hidden) this.close();
    });
  }

  open(title, from, ...content) {
    this.from = from;
    this.turn += 1;
    const heading = el("h2", { id: "panel-title", tabIndex: -1 }, title);
    this.box.replaceChildren(
      el("div", { class: "panel-head" }, heading, el("button", { type: "button", ariaLabel: "Close the details", onclick: () => this.close() }, "✕")),
      ...content.filter(Boolean));
    this.box.hidden = false;
    this.box.scrollTop = 0;
    heading.focus();
    return this.turn;
  }

  close() {
    this.box.hidden = true;
    this.turn += 1;
    this.onclose();
    // Where one came from, if it is still there.
    if (this.from?.isConnected) this.from.focus();
    else $("flows-title").focus();
  }

  /** A flow of the table. */
  flow(row, from) {
    const why = el("section", { class: "why" });
    const details = el("section", null, el("p", { class: "muted" }, "Loading…"));
    const turn = this.open([badge(row.verdict), ` ${row.source.name} → ${row.destination.name}`], from, why, details);
    const which = [["uuid", row.uuid], ["at", row.time]];
    this.explain(which, why, turn);
    ask("flow", which).then(
      (record) => turn === this.turn && details.replaceChildren(...this.record(record)),
      (error) => turn === this.turn && details.replaceChildren(el("p", { class: "muted" }, error.message)));
  }

  /** An edge of the map. */
  edge(id, from) {
    const edge = this.services.edges.get(id);
    if (!edge) return;
    const client = this.services.nodes.get(edge.from);
    const server = this.services.nodes.get(edge.to);
    const why = el("section", { class: "why" });
    const counts = list([
      ["Service", port(edge)],
      ["Last minute", words(edge.recent)],
      ["In all", words(edge.total)],
      ["Connections closed", edge.closed ? `${edge.closed} with ${bytes(edge.bytes)}` : ""],
    ]);
    const filter = el("button", { type: "button", onclick: () => {
      const add = (side, node) => {
        if (node.kind === "workload") this.addFilter(`${side}-pod`, `${node.namespace}/${node.members.length === 1 ? node.members[0] : ""}`);
        else if (node.kind === "dns") this.addFilter(`${side}-fqdn`, node.name);
      };
      add("from", client);
      add("to", server);
      if (/TCP|UDP|SCTP/.test(edge.protocol)) this.addFilter("port", String(edge.port));
    } }, "Filter the flows");
    const turn = this.open([badge({ dropped: "DROPPED", audit: "AUDIT", redirected: "REDIRECTED", forwarded: "FORWARDED" }[look(edge)]), ` ${client.name} → ${server.name}`], from,
      why, el("h3", null, "Traffic"), counts, edge.endpoints.length > 0 && endpoints(edge.endpoints.map((endpoint) => ({
        ...endpoint, requests: sum(endpoint.requests), denied: endpoint.requests.dropped, time: endpoint.latency_ms * endpoint.answers,
      }))), el("p", null, filter));
    this.explain([["edge", id]], why, turn);
  }

  /** A card of the map. */
  node(id, from) {
    const node = this.services.nodes.get(id);
    if (!node) return;
    const edges = [...this.services.edges.values()];
    const calls = edges.filter((edge) => edge.from === id);
    const parts = served(id, edges).map((entry) => el("section", null, el("h3", null, `Serves ${entry.key}`),
      el("ul", { class: "plain-list" }, entry.edges.map((edge) => el("li", null, this.link(edge, edge.from)))),
      entry.endpoints.length > 0 && endpoints(entry.endpoints)));
    this.open(node.name, from,
      list([
        ["Namespace", node.namespace], ["Kind", node.kind],
        [node.kind === "workload" ? "Pods" : "Addresses", node.members.join(", ")],
        ["Identities", node.identities.join(", ")], ["Labels", chips(node.labels)],
      ]),
      ...parts,
      calls.length > 0 && el("section", null, el("h3", null, "Calls"), el("ul", { class: "plain-list" }, calls.map((edge) => el("li", null, this.link(edge, edge.to))))),
      node.namespace && el("p", null, el("button", { type: "button", onclick: () => {
        for (const label of node.labels.filter((label) => /^k8s:(app|k8s-app|name|app\.kubernetes\.io\/name)=/.test(label)).slice(0, 1)) this.addFilter("label", label.replace(/^k8s:/, ""));
        this.addFilter("namespace", node.namespace);
      } }, "Filter the flows")));
  }

  link(edge, other) {
    const state = look(edge);
    const name = this.services.nodes.get(other)?.name ?? other;
    return el("button", { type: "button", class: `plain ${state}`, onclick: () => this.edge(edge.id, this.from) },
      `${name} · ${port(edge)} · ${state} · ${short(sum(edge.total))}`);
  }

  async explain(which, box, turn) {
    let told;
    try {
      told = await ask("explain", which);
    } catch (error) {
      if (turn === this.turn) box.replaceChildren(el("p", { class: "muted" }, error.message));
      return;
    }
    if (turn !== this.turn) return;
    const refused = told.verdict === "DROPPED" || told.verdict === "AUDIT";
    const deny = told.default_deny;
    box.replaceChildren(...[
      el("p", { class: `headline ${told.verdict.toLowerCase()}` }, told.headline),
      told.hint && el("p", null, `Missing: ${told.hint}.`),
      list([
        ["From", told.from], ["To", told.to], ["What", told.what],
        ["Decided by", told.side && `the ${told.side}'s side (${told.side === "source" ? "egress" : "ingress"})`],
        ["Drop reason", told.reason && `${told.reason} (${told.reason_text})`],
      ]),
      deny && el("section", null, el("h3", null, "Default deny was switched on by"), deny.switched_on_by.length ? ruleList(deny.switched_on_by) : el("p", null, "the enforcement mode of this node"),
        deny.allowed_peers?.length > 0 && el("p", null, `Its rules allow: ${deny.allowed_peers.join(", ")}`)),
      told.rules.length > 0 && el("section", null, el("h3", null, refused ? "Denied by" : "Allowed by"), ruleList(told.rules)),
      told.sides.length > 0 && this.sides(told.sides),
      told.sides_error && el("p", { class: "muted" }, `The node adds nothing: ${told.sides_error}`),
    ].filter(Boolean));
    if (refused) this.suggest(which, box, turn);
  }

  sides(sides) {
    return el("details", null, el("summary", null, "What each side's policies say now"), sides.map((side) => el("section", { class: "side" },
      el("h4", null, `${side.direction} of ${side.subject}: ${side.verdict}`),
      side.decided_by.length > 0 && ruleList(side.decided_by),
      side.considered.length > 0 && el("ul", { class: "considered" }, side.considered.map((one) => el("li", null,
        el("span", { ariaHidden: "true" }, one.matches ? "✓ " : "· "), `${nameOf(one.rule)}: ${one.outcome} `, el("code", null, place(one.rule))))),
      side.change && el("p", null, `To change it: ${side.change}`))));
  }

  async suggest(which, box, turn) {
    const part = el("section", { class: "suggestion" }, el("h3", null, "A policy that would allow it"), el("p", { class: "muted" }, "Asking the node…"));
    box.append(part);
    try {
      const { yaml, flows } = await ask("suggest", which);
      if (turn !== this.turn) return;
      part.replaceChildren(el("h3", null, "A policy that would allow it"),
        el("pre", { tabIndex: 0, ariaLabel: "Suggested policy" }, el("code", { id: "yaml" }, yaml)),
        el("p", null, el("button", { type: "button", class: "primary", onclick: () => copy(yaml, "The policy was") }, "Copy the policy"),
          el("span", { class: "muted" }, ` from ${flows} denied flow${flows === 1 ? "" : "s"}. Read it before you apply it.`)));
    } catch (error) {
      if (turn === this.turn) part.replaceChildren(el("h3", null, "A policy that would allow it"), el("p", { class: "muted" }, error.message));
    }
  }

  /** Everything that the record says. */
  record(record) {
    const ends = (end, names, ip, number) => list([
      ["Pod", end?.pod_name && `${end.namespace}/${end.pod_name}`], ["Address", number ? `${ip} port ${number}` : ip],
      ["DNS names", names?.join(", ")], ["Identity", end?.identity && String(end.identity)],
      ["Workloads", end?.workloads?.map((one) => `${one.kind} ${one.name}`).join(", ")], ["Labels", chips(end?.labels)],
    ]);
    const [protocol, l4] = Object.entries(record.l4 ?? {})[0] ?? ["", {}];
    const reply = record.is_reply === true;
    const pod = (end, ip) => (end?.pod_name ? ["pod", `${end.namespace}/${end.pod_name}`] : ["ip", ip]);
    const [fromKind, from] = pod(record.source, record.IP?.source);
    const [toKind, to] = pod(record.destination, record.IP?.destination);
    const number = reply ? l4.source_port : l4.destination_port;
    const command = ["sluice", "observe", `--from-${fromKind}`, quote(from ?? ""), `--to-${toKind}`, quote(to ?? ""), ...(number ? [reply ? "--from-port" : "--to-port", number] : [])].join(" ");
    const extra = record.extensions ?? {};
    const close = extra.close;
    return [
      el("h3", null, "Record"),
      list([
        ["Time", record.time], ["Summary", record.Summary], ["Protocol", protocol], ["Direction", record.traffic_direction?.toLowerCase()],
        ["Reply", record.is_reply === undefined ? "" : String(record.is_reply)],
        ["Latency", record.l7?.latency_ns ? `${(Number(record.l7.latency_ns) / 1e6).toFixed(2)} ms` : ""],
        ["Closed", close ? `${close.reason} after ${(close.duration_ns / 1e9).toFixed(3)} s; ${close.packets[0]} packets ${bytes(close.bytes[0])} sent, ${close.packets[1]} packets ${bytes(close.bytes[1])} received` : ""],
        ["Node", record.node_name], ["Policy version", extra.epoch], ["uuid", record.uuid],
      ]),
      el("h3", null, "Source"), ends(record.source, record.source_names, record.IP?.source, l4.source_port),
      el("h3", null, "Destination"), ends(record.destination, record.destination_names, record.IP?.destination, l4.destination_port),
      el("p", null, el("button", { type: "button", onclick: () => copy(command, "The command was") }, "Copy as sluice observe")),
      el("details", null, el("summary", null, "As JSON"), el("pre", { tabIndex: 0, ariaLabel: "The record as JSON" }, JSON.stringify(record, null, 2))),
    ];
  }
}

function words(counts) {
  const parts = Object.entries(counts).filter(([, n]) => n).map(([name, n]) => `${n} ${name}`);
  return parts.join(", ") || "nothing";
}

function bytes(n) {
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let at = -1;
  do { n /= 1024; at += 1; } while (n >= 1024 && at < units.length - 1);
  return `${n.toFixed(1)} ${units[at]}`;
}

function endpoints(rows) {
  return el("table", { class: "endpoint-table" }, el("caption", null, "Requests"),
    el("thead", null, el("tr", null, ["Request", "Count", "Denied", "Failed", "Mean ms"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", null, rows.map((row) => el("tr", { class: row.denied ? "dropped" : "" },
      el("th", { scope: "row" }, `${row.kind === "others" ? "" : `${row.kind} `}${row.name}`), el("td", null, short(row.requests)), el("td", null, row.denied ? `✕ ${short(row.denied)}` : "0"),
      el("td", null, short(row.failed)), el("td", null, row.answers ? (row.time / row.answers).toFixed(1) : "")))));
}
