// Where the cards stand: layers from clients to servers, the same for the same services, and stable as flows come.
//
// A line that passes a layer has a place there too, a gap between cards, so that it runs behind nobody.
//
// A card that has a place keeps its layer and its height; new ones go to the end of their layer. Cards move only down,
// and only as far as a card above them has grown.

export const WIDTH = 250;
const COLUMN = WIDTH + 130;
const GAP = 22;
/** Height of the gap for a line. */
const LANE = 8;

/** Longest path from a source, over what is left when the edges that close a cycle are taken out. */
function layers(ids, next) {
  const state = new Map();
  const forward = new Map(ids.map((id) => [id, []]));
  const order = [];
  for (const root of ids) {
    if (state.has(root)) continue;
    const stack = [[root, 0]];
    state.set(root, "open");
    while (stack.length) {
      const top = stack[stack.length - 1];
      const [id, at] = top;
      const targets = next.get(id);
      if (at < targets.length) {
        top[1] += 1;
        const target = targets[at];
        if (state.get(target) === "open") continue;
        forward.get(id).push(target);
        if (!state.has(target)) {
          state.set(target, "open");
          stack.push([target, 0]);
        }
      } else {
        state.set(id, "done");
        order.unshift(id);
        stack.pop();
      }
    }
  }
  const layer = new Map(ids.map((id) => [id, 0]));
  for (const id of order) {
    for (const target of forward.get(id)) layer.set(target, Math.max(layer.get(target), layer.get(id) + 1));
  }
  return layer;
}

/** Cards that only call sit next to what they call, not at the far left. */
function tighten(ids, layer, next, previous) {
  for (const id of ids) {
    if (previous.get(id).length > 0) continue;
    const targets = next.get(id).filter((target) => layer.get(target) > layer.get(id));
    if (targets.length) layer.set(id, Math.min(...targets.map((target) => layer.get(target))) - 1);
  }
}

const mean = (list) => list.reduce((sum, n) => sum + n, 0) / list.length;

/**
 * `heights`: Map of id → height; `edges`: pairs of ids; `places`: what an earlier call answered, or nothing.
 * Answers a Map of id → {layer, x, y, height}.
 */
export function arrange(heights, edges, places = new Map()) {
  const ids = [...heights.keys()].sort();
  const next = new Map(ids.map((id) => [id, []]));
  const previous = new Map(ids.map((id) => [id, []]));
  for (const [from, to] of [...edges].sort()) {
    if (from === to || !next.has(from) || !next.has(to) || next.get(from).includes(to)) continue;
    next.get(from).push(to);
    previous.get(to).push(from);
  }
  // Who is called by nobody comes first, so that cycles are cut where they come back.
  const roots = [...ids].sort((a, b) => (previous.get(a).length > 0) - (previous.get(b).length > 0) || (a < b ? -1 : 1));
  const layer = layers(roots, next);
  tighten(ids, layer, next, previous);
  for (const id of ids) if (places.has(id)) layer.set(id, places.get(id).layer);
  const fresh = new Map();
  for (const id of ids) fresh.set(id, { layer: layer.get(id), x: layer.get(id) * COLUMN, height: heights.get(id) });
  const known = ids.some((id) => places.has(id));
  addLanes(ids, next, previous, fresh);

  const columns = new Map();
  for (const id of ids) {
    const list = columns.get(fresh.get(id).layer) ?? [];
    list.push(id);
    columns.set(fresh.get(id).layer, list);
  }
  const numbers = [...columns.keys()].sort((a, b) => a - b);
  if (known) settle(columns, fresh, places);
  else spread(numbers, columns, fresh, next, previous);
  return fresh;
}

/** The name of the place that a line has in a layer between its ends. */
export const lane = (from, to, layer) => `${from}>${to}@${layer}`;

/** Puts lanes into the graph: every line then goes from one layer to the next, whichever way it points. */
function addLanes(ids, next, previous, fresh) {
  const pairs = ids.flatMap((from) => next.get(from).map((to) => [from, to]));
  for (const id of ids) {
    next.set(id, []);
    previous.set(id, []);
  }
  for (const [from, to] of pairs) {
    const [low, high] = fresh.get(from).layer <= fresh.get(to).layer ? [from, to] : [to, from];
    let last = low;
    for (let at = fresh.get(low).layer + 1; at < fresh.get(high).layer; at += 1) {
      const id = lane(from, to, at);
      ids.push(id);
      fresh.set(id, { layer: at, x: at * COLUMN, height: LANE, lane: true });
      next.set(id, []);
      previous.set(id, [last]);
      next.get(last).push(id);
      last = id;
    }
    if (fresh.get(last).layer === fresh.get(high).layer) continue;
    next.get(last).push(high);
    previous.get(high).push(last);
  }
}

/** From scratch: order by neighbours, then as near to them as there is room. */
function spread(numbers, columns, fresh, next, previous) {
  const rank = new Map();
  const note = () => numbers.forEach((n) => columns.get(n).forEach((id, at) => rank.set(id, at)));
  note();
  for (let round = 0; round < 6; round += 1) {
    const down = round % 2 === 0;
    for (const n of down ? numbers : [...numbers].reverse()) {
      const weight = (id) => {
        const near = (down ? previous : next).get(id).map((other) => rank.get(other));
        return near.length ? mean(near) : rank.get(id);
      };
      const keyed = columns.get(n).map((id) => [weight(id), id]);
      keyed.sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1));
      columns.set(n, keyed.map(([, id]) => id));
      note();
    }
  }
  for (const n of numbers) {
    let y = 0;
    for (const id of columns.get(n)) {
      fresh.get(id).y = y;
      y += fresh.get(id).height + GAP;
    }
  }
  const middle = (id) => fresh.get(id).y + fresh.get(id).height / 2;
  for (let round = 0; round < 4; round += 1) {
    for (const n of round % 2 === 0 ? numbers : [...numbers].reverse()) {
      const list = columns.get(n);
      const wish = list.map((id) => {
        const near = [...previous.get(id), ...next.get(id)];
        return near.length ? mean(near.map(middle)) - fresh.get(id).height / 2 : fresh.get(id).y;
      });
      // Down the column nobody overlaps; then the column as a whole goes where its cards want to be.
      let floor = -Infinity;
      list.forEach((id, at) => {
        fresh.get(id).y = Math.max(wish[at], floor);
        floor = fresh.get(id).y + fresh.get(id).height + GAP;
      });
      const shift = mean(list.map((id, at) => wish[at] - fresh.get(id).y));
      for (const id of list) fresh.get(id).y += shift;
    }
  }
  const top = Math.min(...[...fresh.values()].map((place) => place.y));
  for (const place of fresh.values()) place.y = Math.round(place.y - top);
}

/** Known cards stay; new ones go below. */
function settle(columns, fresh, places) {
  for (const list of columns.values()) {
    const known = list.filter((id) => places.has(id)).sort((a, b) => places.get(a).y - places.get(b).y);
    let floor = 0;
    for (const id of [...known, ...list.filter((id) => !places.has(id))]) {
      const wish = places.get(id)?.y ?? floor;
      fresh.get(id).y = Math.max(wish, floor);
      floor = fresh.get(id).y + fresh.get(id).height + GAP;
    }
  }
}
