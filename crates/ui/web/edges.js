// The map as a table: the same edges, in words.

import { el, port, say, short } from "./dom.js";
import { denied, look, sum } from "./map.js";

const HEADS = ["From", "To", "Service", "Verdict", "Last minute", "Denied", "Requests", ""];
const GLYPHS = { dropped: "✕", audit: "!", redirected: "⇉", forwarded: "→" };

export class EdgeList {
  rows = new Map();

  constructor(box, open) {
    this.open = open;
    this.body = el("tbody");
    box.append(el("table", { class: "edge-table" },
      el("caption", { class: "visually-hidden" }, "Who talks to whom"),
      el("thead", null, el("tr", null, HEADS.map((head) => el("th", { scope: "col" }, head || el("span", { class: "visually-hidden" }, "Explanation"))))),
      this.body));
  }

  draw({ nodes, edges }) {
    const names = new Map(nodes.map((node) => [node.id, node.namespace ? `${node.namespace}/${node.name}` : node.name]));
    const seen = new Set(edges.map((edge) => edge.id));
    for (const [id, row] of this.rows) {
      if (!seen.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    for (const edge of edges) {
      let row = this.rows.get(edge.id);
      const state = look(edge);
      if (!row) {
        const button = el("button", { type: "button", onclick: () => this.open.edge(edge.id, button) });
        row = el("tr", null, HEADS.slice(1).map(() => el("td")), el("td", null, button));
        this.rows.set(edge.id, row);
        this.body.append(row);
      }
      const endpoints = edge.endpoints.slice(0, 3).map((endpoint) => `${endpoint.name} (${short(sum(endpoint.requests))})`).join(", ");
      const texts = [
        names.get(edge.from), names.get(edge.to), port(edge), `${GLYPHS[state]} ${state}`,
        short(sum(edge.recent)), short(denied(edge.total)), endpoints,
      ];
      texts.forEach((text, at) => say(row.cells[at], text));
      row.className = state;
      const button = row.cells[7].firstChild;
      const word = state === "dropped" || state === "audit" ? "Explain" : "Details";
      say(button, word);
      button.setAttribute("aria-label", `${word}: ${texts[0]} to ${texts[1]}, ${texts[2]}`);
    }
  }
}
