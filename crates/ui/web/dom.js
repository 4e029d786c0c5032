// Elements without markup in strings: what comes from the network only ever becomes text.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name in node && name !== "list" && !(node instanceof SVGElement)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

export const el = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Sets a text only if it differs, so that nothing is announced or painted twice. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let toastTimer;
/** A short message that goes away. */
export function toast(text) {
  const box = $("toast");
  say(box, text);
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.classList.remove("shown"); say(box, ""); }, 4000);
}

/** Copies a text; where the browser has no clipboard for the page (plain HTTP from afar), the old way. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const before = document.activeElement;
    const area = el("textarea", { value: text, class: "visually-hidden" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    before?.focus();
  }
  toast(`${what} copied`);
}

/** 1234 → 1.2k */
export function short(n) {
  if (n < 1000) return String(n);
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)}k`;
  return `${(n / 1e6).toFixed(1)}M`;
}

export const WORDS = {
  FORWARDED: "forwarded", REDIRECTED: "redirected", DROPPED: "dropped", AUDIT: "audit",
  ERROR: "error", TRACED: "traced", TRANSLATED: "translated",
};
const GLYPHS = { DROPPED: "✕", ERROR: "✕", AUDIT: "!", FORWARDED: "→", REDIRECTED: "⇉" };

/** A verdict as a word with a sign: never by colour alone. */
export function badge(verdict) {
  const word = WORDS[verdict] ?? "unknown";
  return el("span", { class: `badge ${word}` }, el("span", { ariaHidden: "true" }, `${GLYPHS[verdict] ?? "·"} `), word);
}

export const port = (edge) => (edge.protocol.startsWith("ICMP") ? `${edge.protocol} type ${edge.port}` : `${edge.port}/${edge.protocol}`);
