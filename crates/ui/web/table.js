// The flow table: the newest first, at most some, and only those rows in the page that can be seen.

import { badge, el, say } from "./dom.js";

const KEPT = 1000;
const ROW = 32;
const SPARE = 8;

const end = (peer) => (peer.port ? `${peer.name}:${peer.port}` : peer.name);

/** Columns: name, head, class for the width, shown at first, what stands in it. */
export const COLUMNS = [
  ["time", "Time", "w-time", true, (row) => clock(row.time)],
  ["verdict", "Verdict", "w-verdict", true, (row) => badge(row.verdict)],
  ["source", "Source", "w-peer", true, (row) => end(row.source)],
  ["source-identity", "Source identity", "w-number", false, (row) => String(row.source.identity)],
  ["source-ip", "Source IP", "w-ip", false, (row) => row.source.ip],
  ["source-workload", "Source workload", "w-peer", false, (row) => row.source.workload],
  ["source-labels", "Source labels", "w-peer", false, (row) => row.source.labels.join(" ")],
  ["destination", "Destination", "w-peer", true, (row) => end(row.destination)],
  ["destination-identity", "Destination identity", "w-number", false, (row) => String(row.destination.identity)],
  ["destination-ip", "Destination IP", "w-ip", false, (row) => row.destination.ip],
  ["destination-workload", "Destination workload", "w-peer", false, (row) => row.destination.workload],
  ["destination-labels", "Destination labels", "w-peer", false, (row) => row.destination.labels.join(" ")],
  ["protocol", "Protocol", "w-number", false, (row) => row.protocol],
  ["direction", "Direction", "w-number", false, (row) => row.direction],
  ["kind", "Type", "w-kind", true, (row) => row.kind + (row.reply ? " ←" : "")],
  ["summary", "Info", "w-text", true, (row) => row.summary],
  ["policy", "Policy", "w-policy", true, (row) => row.policy],
  ["reason", "Drop reason", "w-kind", false, (row) => row.reason],
  ["node", "Node", "w-kind", false, (row) => row.node],
];

function clock(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return time;
  const two = (n, width = 2) => String(n).padStart(width, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}

export class FlowTable {
  rows = [];
  made = new Map();
  current = null;

  constructor(box, newer, open) {
    this.box = box;
    this.newer = newer;
    this.open = open;
    this.unseen = 0;
    this.head = el("tr");
    this.widths = el("colgroup");
    this.body = el("tbody", { onkeydown: (event) => this.key(event), onclick: (event) => this.click(event) });
    this.above = el("tr", { class: "spacer", ariaHidden: "true" }, el("td"));
    this.below = el("tr", { class: "spacer", ariaHidden: "true" }, el("td"));
    this.table = el("table", { class: "flow-table" }, el("caption", { class: "visually-hidden" }, "Flows, newest first; Enter on a time opens the details, arrow keys move"), this.widths, el("thead", null, this.head), this.body);
    this.empty = el("p", { class: "empty" }, "No flow matches.");
    box.append(this.table, this.empty);
    this.body.append(this.above, this.below);
    box.addEventListener("scroll", () => { this.render(); if (box.scrollTop < ROW) this.seen(); });
    new ResizeObserver(() => this.render()).observe(box);
    newer.addEventListener("click", () => { box.scrollTop = 0; this.seen(); this.render(); this.body.querySelector("button")?.focus(); });
    this.show(this.remembered());
  }

  remembered() {
    try {
      const names = JSON.parse(localStorage.getItem("sluice-columns"));
      if (Array.isArray(names) && names.length) return new Set(names);
    } catch { /* storage may be forbidden or broken: the usual columns */ }
    return new Set(COLUMNS.filter((column) => column[3]).map((column) => column[0]));
  }

  /** Chooses columns. */
  show(names) {
    this.columns = COLUMNS.filter((column) => column[0] === "time" || names.has(column[0]));
    try { localStorage.setItem("sluice-columns", JSON.stringify(this.columns.map((column) => column[0]))); } catch { /* as above */ }
    this.head.replaceChildren(...this.columns.map((column) => el("th", { scope: "col" }, column[1])));
    this.widths.replaceChildren(...this.columns.map((column) => el("col", { class: column[2] })));
    for (const spacer of [this.above, this.below]) spacer.firstChild.colSpan = this.columns.length;
    for (const row of this.made.values()) row.remove();
    this.made.clear();
    this.render();
  }

  /** All rows anew. */
  set(rows) {
    this.rows = rows.slice(0, KEPT);
    // Rows of the past have numbers of their own.
    for (const row of this.made.values()) row.remove();
    this.made.clear();
    this.unseen = 0;
    this.box.scrollTop = 0;
    this.seen();
    this.render();
  }

  /** New rows, newest first. Whoever reads further down, or stands on a row, is not moved. */
  add(rows) {
    if (!rows.length) return;
    const held = this.box.scrollTop > ROW / 2 || this.body.contains(document.activeElement);
    this.rows = [...rows, ...this.rows].slice(0, KEPT);
    if (held) {
      this.unseen += rows.length;
      this.newer.hidden = false;
      say(this.newer, `${this.unseen} newer flow${this.unseen === 1 ? "" : "s"}: show`);
      this.render(rows.length * ROW);
      this.box.scrollTop += rows.length * ROW;
    }
    this.render();
  }

  seen() {
    this.unseen = 0;
    this.newer.hidden = true;
  }

  render(ahead = 0) {
    const from = Math.max(0, Math.floor((this.box.scrollTop + ahead) / ROW) - SPARE);
    const many = Math.ceil((this.box.clientHeight || 600) / ROW) + 2 * SPARE;
    const seen = this.rows.slice(from, from + many);
    this.empty.hidden = this.rows.length > 0;
    this.table.hidden = this.rows.length === 0;
    this.table.setAttribute("aria-rowcount", this.rows.length + 1);
    const wanted = new Set(seen.map((row) => row.seq));
    for (const [seq, row] of this.made) {
      if (!wanted.has(seq)) {
        row.remove();
        this.made.delete(seq);
      }
    }
    let last = this.above;
    seen.forEach((data, at) => {
      let row = this.made.get(data.seq);
      if (!row) {
        row = this.make(data);
        this.made.set(data.seq, row);
      }
      row.setAttribute("aria-rowindex", from + at + 2);
      if (last.nextSibling !== row) last.after(row);
      last = row;
    });
    this.above.firstChild.style.height = `${from * ROW}px`;
    this.below.firstChild.style.height = `${Math.max(0, this.rows.length - from - seen.length) * ROW}px`;
    this.above.hidden = from === 0;
    this.rove(this.current);
  }

  make(data) {
    const cells = this.columns.map(([name, , , , text]) => {
      const content = text(data);
      if (name === "time") return el("td", null, el("button", { type: "button", class: "plain", tabIndex: -1, ariaLabel: `Details of the flow at ${content}` }, content));
      return el("td", typeof content === "string" ? { title: content } : null, content);
    });
    const row = el("tr", { class: `flow ${data.verdict.toLowerCase()}` }, cells);
    row.dataset.seq = data.seq;
    row.classList.toggle("chosen", data.seq === this.chosen);
    return row;
  }

  /** One row is in the order of the tab key; arrows go to the others. */
  rove(seq) {
    const row = this.made.get(seq) ?? this.made.values().next().value;
    for (const other of this.body.querySelectorAll("button[tabindex='0']")) other.tabIndex = -1;
    const button = row?.querySelector("button");
    if (button) button.tabIndex = 0;
    return button;
  }

  key(event) {
    const row = event.target.closest("tr.flow");
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -KEPT, End: KEPT }[event.key];
    if (!row || !step) return;
    event.preventDefault();
    const at = this.rows.findIndex((data) => data.seq === Number(row.dataset.seq));
    const to = Math.min(this.rows.length - 1, Math.max(0, at + step));
    const top = to * ROW;
    const room = this.box.clientHeight - 2 * ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top > this.box.scrollTop + room) this.box.scrollTop = top - room;
    this.current = this.rows[to].seq;
    this.render();
    this.rove(this.current)?.focus();
  }

  click(event) {
    const row = event.target.closest("tr.flow");
    if (!row) return;
    const seq = Number(row.dataset.seq);
    this.current = seq;
    this.choose(seq);
    this.open(this.rows.find((data) => data.seq === seq), this.rove(seq));
  }

  choose(seq) {
    this.chosen = seq;
    for (const [key, row] of this.made) row.classList.toggle("chosen", key === seq);
  }
}
