// The service map: what the server sent, as cards and lines.

import { $, el, port, say, short, svg } from "./dom.js";
import { arrange, lane, WIDTH } from "./layout.js";

const HEAD = 48;
const PORT = 28;
const ENDPOINT = 21;
const FOOT = 8;
const MARGIN = 28;
/** Endpoints shown under a port; the panel has all of them. */
const SHOWN = 4;

const KINDS = {
  workload: "workload", host: "this node", "remote-node": "other nodes", "api-server": "API server",
  dns: "DNS name", world: "outside", reserved: "reserved", others: "what did not fit",
};

export const denied = (counts) => counts.dropped + counts.error;
export const sum = (counts) => counts.forwarded + counts.redirected + counts.dropped + counts.audit + counts.error;

/** What an edge looks like: by the last minute if it has anything, else by what it ended with. */
export function look(edge) {
  const counts = sum(edge.recent) ? edge.recent : edge.total;
  if (denied(counts)) return "dropped";
  if (counts.audit) return "audit";
  return edge.total.redirected ? "redirected" : "forwarded";
}

/** The map as data. */
export class Services {
  nodes = new Map();
  edges = new Map();

  /** Takes what changed; answers whether cards or lines came or went. */
  update(change) {
    let shape = change.whole;
    if (change.whole) {
      this.nodes.clear();
      this.edges.clear();
    }
    for (const node of change.nodes) {
      shape ||= !this.nodes.has(node.id);
      this.nodes.set(node.id, node);
    }
    for (const edge of change.edges) {
      shape ||= !this.edges.has(edge.id);
      this.edges.set(edge.id, edge);
    }
    for (const id of change.gone_nodes) shape = this.nodes.delete(id) || shape;
    for (const id of change.gone_edges) shape = this.edges.delete(id) || shape;
    return shape;
  }

  /** What is to be seen with these groups hidden. Nodes that only spoke with hidden ones go too. */
  visible(hide) {
    const hidden = (id) => hide.has(this.nodes.get(id)?.group);
    const edges = [...this.edges.values()].filter((edge) =>
      this.nodes.has(edge.from) && this.nodes.has(edge.to) && !hidden(edge.from) && !hidden(edge.to));
    edges.sort((a, b) => (a.id < b.id ? -1 : 1));
    const used = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
    const nodes = [...this.nodes.values()].filter((node) => used.has(node.id));
    return { nodes, edges };
  }
}

/** Ports of a node with all that is asked of them, from all clients together. */
export function served(id, edges) {
  const ports = new Map();
  for (const edge of edges.filter((edge) => edge.to === id)) {
    const key = port(edge);
    const entry = ports.get(key) ?? { key, number: edge.port, endpoints: new Map(), edges: [], more: 0 };
    entry.edges.push(edge);
    entry.more += edge.more_endpoints;
    for (const endpoint of edge.endpoints) {
      const name = `${endpoint.kind} ${endpoint.name}`;
      const known = entry.endpoints.get(name) ?? { kind: endpoint.kind, name: endpoint.name, requests: 0, denied: 0, failed: 0, answers: 0, time: 0 };
      known.requests += sum(endpoint.requests);
      known.denied += denied(endpoint.requests);
      known.failed += endpoint.failed;
      known.answers += endpoint.answers;
      known.time += endpoint.latency_ms * endpoint.answers;
      entry.endpoints.set(name, known);
    }
    ports.set(key, entry);
  }
  const list = [...ports.values()].sort((a, b) => a.number - b.number || (a.key < b.key ? -1 : 1));
  for (const entry of list) {
    // By name and not by count, so that lines do not change places while one reads.
    entry.endpoints = [...entry.endpoints.values()].sort((a, b) => (b.denied > 0) - (a.denied > 0) || (a.name < b.name ? -1 : 1));
  }
  return list;
}

const rows = (entry) => Math.min(entry.endpoints.length, SHOWN) + (entry.endpoints.length > SHOWN ? 1 : 0);
const height = (ports) => HEAD + FOOT + ports.reduce((sum, entry) => sum + PORT + rows(entry) * ENDPOINT, 0);

/** The map as a drawing. */
export class Drawing {
  places = new Map();
  cards = new Map();
  lines = new Map();
  scale = 1;
  fitted = true;

  constructor(box, open) {
    this.box = box;
    this.open = open;
    // Above all lines, so that none of them crosses a number out.
    this.marks = svg("g", { "aria-hidden": "true" });
    this.ink = svg("svg", { class: "ink", role: "group", "aria-label": "Connections" }, this.marks);
    this.paper = el("div", { class: "paper" }, this.ink);
    this.sizer = el("div", { class: "sizer" }, this.paper);
    this.empty = el("p", { class: "empty" }, "No connections yet. They appear here as soon as something talks.");
    box.append(this.sizer, this.empty);
    new ResizeObserver(() => this.fitted && this.fit()).observe(box);
  }

  /** Forgets where the cards stand. */
  forget() {
    this.places = new Map();
    this.fitted = true;
  }

  draw({ nodes, edges }) {
    this.empty.hidden = edges.length > 0;
    const ports = new Map(nodes.map((node) => [node.id, served(node.id, edges)]));
    const heights = new Map(nodes.map((node) => [node.id, height(ports.get(node.id))]));
    const before = [...this.places].map(([id, place]) => `${id}${place.y}${place.height}`).join();
    this.places = arrange(heights, edges.map((edge) => [edge.from, edge.to]), this.places);
    const moved = before !== [...this.places].map(([id, place]) => `${id}${place.y}${place.height}`).join();
    const ordered = [...nodes].sort((a, b) => this.at(a) - this.at(b));
    this.drawCards(ordered, ports);
    this.drawLines(edges, ports, moved);
    if (moved) this.measure();
  }

  at(node) {
    const place = this.places.get(node.id);
    return place.layer * 1e6 + place.y;
  }

  drawCards(nodes, ports) {
    const seen = new Set(nodes.map((node) => node.id));
    for (const [id, card] of this.cards) {
      if (!seen.has(id)) {
        card.remove();
        this.cards.delete(id);
      }
    }
    let last = this.ink;
    for (const node of nodes) {
      const place = this.places.get(node.id);
      let card = this.cards.get(node.id);
      if (!card) {
        card = el("article", { class: `card ${node.kind}` });
        card.dataset.id = node.id;
        this.cards.set(node.id, card);
      }
      // A card that has the focus must not be taken out and put in again.
      if (last.nextSibling !== card) last.after(card);
      last = card;
      card.style.transform = `translate(${place.x + MARGIN}px, ${place.y + MARGIN}px)`;
      card.style.height = `${place.height}px`;
      const text = JSON.stringify([node.name, node.namespace, node.members.length, ports.get(node.id).map((entry) => [entry.key, entry.more, entry.edges.map((e) => [look(e), sum(e.recent)]), entry.endpoints])]);
      if (card.dataset.text !== text) {
        card.dataset.text = text;
        this.fillCard(card, node, ports.get(node.id));
      }
    }
  }

  fillCard(card, node, ports) {
    const where = node.namespace || KINDS[node.kind];
    const many = node.members.length > 1 ? ` · ${node.members.length} ${node.kind === "workload" ? "pods" : "addresses"}` : "";
    let head = card.querySelector("button");
    if (!head) {
      head = el("button", { type: "button", class: "card-head", onclick: () => this.open.node(node.id, head) });
      card.append(head, el("div", { class: "ports" }));
    }
    head.replaceChildren(el("span", { class: "card-name" }, node.name), el("span", { class: "card-where" }, where + many));
    card.querySelector(".ports").replaceChildren(...ports.map((entry) => {
      const looks = entry.edges.map(look);
      const state = ["dropped", "audit", "redirected", "forwarded"].find((one) => looks.includes(one));
      const rate = entry.edges.reduce((total, edge) => total + sum(edge.recent), 0);
      const shown = entry.endpoints.slice(0, SHOWN);
      const more = entry.endpoints.length - shown.length + entry.more;
      return el("div", { class: "port" },
        el("div", { class: `port-line ${state}` }, el("span", { class: "port-name" }, entry.key), el("span", { class: "count", title: "records in the last minute" }, `${short(rate)}/min`)),
        shown.map((endpoint) => el("div", { class: `endpoint ${endpoint.denied ? "dropped" : ""}`, title: endpoint.name },
          el("span", { class: "endpoint-kind" }, endpoint.kind === "others" ? "" : endpoint.kind),
          el("span", { class: "endpoint-name" }, endpoint.name),
          el("span", { class: "count" }, endpoint.denied ? `✕ ${short(endpoint.denied)}` : short(endpoint.requests)))),
        more > 0 && el("div", { class: "endpoint muted" }, `${more} more`));
    }));
  }

  drawLines(edges, ports, moved) {
    const seen = new Set(edges.map((edge) => edge.id));
    for (const [id, line] of this.lines) {
      if (!seen.has(id)) {
        line.group.remove();
        line.mark.remove();
        this.lines.delete(id);
      }
    }
    for (const edge of edges) {
      let line = this.lines.get(edge.id);
      if (!line) line = this.newLine(edge);
      const path = this.path(edge, ports);
      if (line.d !== path.d) {
        line.d = path.d;
        line.hit.setAttribute("d", path.d);
        line.stroke.setAttribute("d", path.d);
        line.arrow.setAttribute("transform", `translate(${path.to[0]} ${path.to[1]})${path.turned ? " rotate(180)" : ""}`);
        line.mark.setAttribute("transform", `translate(${path.middle[0]} ${path.middle[1]})`);
      }
      this.dressLine(line, edge);
    }
  }

  newLine(edge) {
    const line = {
      hit: svg("path", { class: "hit" }),
      stroke: svg("path", { class: "line" }),
      arrow: svg("path", { class: "arrow", d: "M-9-5 0 0-9 5z" }),
      mark: svg("g", { class: "mark" }, svg("rect", { rx: 9, y: -9, height: 18 }), svg("text", { "text-anchor": "middle", y: 4 })),
    };
    const open = () => this.open.edge(edge.id, line.group);
    line.group = svg("g", {
      class: "edge", tabindex: 0, role: "button", onclick: open,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); } },
    }, line.hit, line.stroke, line.arrow);
    line.group.dataset.id = edge.id;
    line.mark.dataset.id = edge.id;
    line.mark.addEventListener("click", open);
    this.marks.before(line.group);
    this.marks.append(line.mark);
    this.lines.set(edge.id, line);
    return line;
  }

  dressLine(line, edge) {
    const state = look(edge);
    const idle = sum(edge.recent) === 0 ? " idle" : "";
    line.group.setAttribute("class", `edge ${state}${idle}`);
    line.stroke.setAttribute("class", `line ${state}`);
    const counts = idle ? edge.total : edge.recent;
    const number = state === "dropped" ? denied(counts) : state === "audit" ? counts.audit : 0;
    const text = number ? `${state === "dropped" ? "✕" : "!"} ${short(number)}` : "";
    const [box, words] = line.mark.children;
    say(words, text);
    const width = text.length * 7.5 + 12;
    box.setAttribute("width", width);
    box.setAttribute("x", -width / 2);
    line.mark.setAttribute("class", `mark ${state}`);
    line.mark.style.display = text ? "" : "none";
    const label = `${this.name(edge.from)} to ${this.name(edge.to)}, ${port(edge)}, ${state}${idle ? ", idle" : ""}, ${sum(edge.recent)} records in the last minute`;
    if (line.group.getAttribute("aria-label") !== label) line.group.setAttribute("aria-label", label);
  }

  name(id) {
    return id.split("/").slice(2).join("/");
  }

  /** From the side of the client that faces the server to the port, through the lanes of the layers between. */
  path(edge, ports) {
    const from = this.places.get(edge.from);
    const to = this.places.get(edge.to);
    let row = to.y + HEAD;
    for (const entry of ports.get(edge.to)) {
      if (entry.key === port(edge)) break;
      row += PORT + rows(entry) * ENDPOINT;
    }
    const step = Math.sign(to.layer - from.layer);
    const [near, far] = step >= 0 ? [0, WIDTH] : [WIDTH, 0];
    // Within a layer a line leaves and comes back on the right.
    const points = [[from.x + far, from.y + HEAD / 2]];
    for (let at = from.layer + step; at !== to.layer; at += step) {
      const place = this.places.get(lane(edge.from, edge.to, at));
      if (place) points.push([place.x + near, place.y + place.height / 2], [place.x + far, place.y + place.height / 2]);
    }
    points.push([to.x + (step === 0 ? far + 3 : near - 3 * step), row + PORT / 2]);
    for (const point of points) {
      point[0] = Math.round(point[0] + MARGIN);
      point[1] = Math.round(point[1] + MARGIN);
    }
    let d = `M${points[0].join(" ")}`;
    let bend;
    for (let at = 1; at < points.length; at += 2) {
      const [x, y] = points[at - 1];
      const [u, v] = points[at];
      const reach = step === 0 ? 70 : Math.max(40, Math.abs(u - x) / 2) * step;
      bend = [[x, y], [x + reach, y], [step === 0 ? u + reach : u - reach, v], [u, v]];
      d += `C${bend.slice(1).map((point) => point.join(" ")).join(" ")}`;
      if (at + 1 < points.length) d += `L${points[at + 1].join(" ")}`;
    }
    // Nearer to the server, where lines that begin together have parted.
    const t = 0.6;
    const weights = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t ** 3];
    const middle = [0, 1].map((axis) => Math.round(weights.reduce((sum, weight, at) => sum + weight * bend[at][axis], 0)));
    return { d, to: bend[3], turned: step <= 0, middle };
  }

  measure() {
    const all = [...this.places.values()];
    this.width = Math.max(0, ...all.map((place) => place.x + WIDTH)) + 2 * MARGIN;
    this.height = Math.max(0, ...all.map((place) => place.y + place.height)) + 2 * MARGIN;
    this.ink.setAttribute("width", this.width);
    this.ink.setAttribute("height", this.height);
    this.paper.style.width = `${this.width}px`;
    this.paper.style.height = `${this.height}px`;
    if (this.fitted) this.fit();
    else this.zoom(this.scale);
  }

  /** As large as there is room, but readable. */
  fit() {
    if (!this.width || !this.box.clientWidth) return;
    const room = Math.min((this.box.clientWidth - 4) / this.width, (this.box.clientHeight - 4) / this.height);
    this.zoom(Math.min(1, Math.max(0.7, room)));
    this.fitted = true;
  }

  zoom(scale) {
    this.fitted = false;
    this.scale = Math.min(2, Math.max(0.25, scale));
    this.paper.style.transform = `scale(${this.scale})`;
    this.sizer.style.width = `${this.width * this.scale}px`;
    this.sizer.style.height = `${this.height * this.scale}px`;
  }

  /** Marks what belongs to a card or an edge. */
  select(id) {
    for (const [key, line] of this.lines) {
      line.group.classList.toggle("chosen", key === id);
    }
    for (const [key, card] of this.cards) card.classList.toggle("chosen", key === id);
    $("map").classList.toggle("has-choice", Boolean(id));
  }
}
