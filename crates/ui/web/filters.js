// What is asked for: filters by observe's names, in the address of the page, and as a command.

/** Flags on offer: name, what they are called here, values to propose. */
export const KEYS = [
  ["pod", "pod (either end)"], ["from-pod", "from pod"], ["to-pod", "to pod"],
  ["label", "label"], ["from-label", "from label"], ["to-label", "to label"],
  ["workload", "workload"], ["namespace", "namespace"], ["from-namespace", "from namespace"], ["to-namespace", "to namespace"],
  ["ip", "IP or CIDR"], ["from-ip", "from IP"], ["to-ip", "to IP"],
  ["fqdn", "DNS name"], ["to-fqdn", "to DNS name"], ["dns-query", "DNS query"],
  ["identity", "identity", ["host", "world", "remote-node", "kube-apiserver", "health", "init"]],
  ["from-identity", "from identity"], ["to-identity", "to identity"],
  ["port", "port"], ["to-port", "to port"], ["from-port", "from port"],
  ["protocol", "protocol", ["tcp", "udp", "icmp", "sctp", "http", "grpc", "dns", "kafka", "tls"]],
  ["type", "type", ["l7", "policy-verdict", "drop", "trace", "close"]],
  ["http-method", "HTTP method", ["GET", "POST", "PUT", "DELETE", "PATCH"]],
  ["http-path", "HTTP path"], ["http-status", "HTTP status", ["2+", "4+", "403", "5+"]],
  ["drop-reason-desc", "drop reason", ["POLICY_DENIED", "POLICY_DENY"]],
  ["traffic-direction", "direction", ["ingress", "egress"]],
  ["uuid", "uuid"],
];

/** Filters that hide a group, as observe has them. */
const HIDDEN = {
  "kube-dns": ["label", "k8s-app=kube-dns"], host: ["identity", "host"],
  "remote-node": ["identity", "remote-node"], prometheus: ["label", "app=prometheus"],
};

export class Filters {
  namespace = "";
  verdict = "";
  text = "";
  /** Moments of a span of time, as the server writes them; empty: what is there and comes. */
  since = "";
  until = "";
  hide = new Set();
  /** [name, value, negated] */
  list = [];

  add(name, value, negated = false) {
    if (!value || this.list.some(([n, v, x]) => n === name && v === value && x === negated)) return;
    this.list.push([name, value, negated]);
  }

  remove(at) {
    this.list.splice(at, 1);
  }

  /** Pairs for the server. */
  parameters() {
    const pairs = this.list.map(([name, value, negated]) => [(negated ? "not-" : "") + name, value]);
    if (this.namespace) pairs.push(["namespace", this.namespace]);
    if (this.verdict) pairs.push(["verdict", this.verdict]);
    if (this.text) pairs.push(["q", this.text]);
    for (const group of this.hide) pairs.push(["hide", group]);
    return pairs;
  }

  /** Whether a span of time is asked for, and not what comes. */
  past() {
    return this.since !== "" || this.until !== "";
  }

  /** Pairs of the span, for the server. */
  span() {
    return [["since", this.since], ["until", this.until]].filter(([, moment]) => moment);
  }

  /** What stands behind the # of the address. */
  toHash() {
    const pairs = this.list.map(([name, value, negated]) => [`${negated ? "not-" : ""}${name}`, value]);
    if (this.namespace) pairs.unshift(["ns", this.namespace]);
    if (this.verdict) pairs.push(["v", this.verdict]);
    if (this.text) pairs.push(["q", this.text]);
    for (const group of this.hide) pairs.push(["hide", group]);
    pairs.push(...this.span());
    return new URLSearchParams(pairs).toString();
  }

  static fromHash(hash) {
    const filters = new Filters();
    const known = new Set(KEYS.map(([name]) => name));
    for (const [name, value] of new URLSearchParams(hash)) {
      const bare = name.replace(/^not-/, "");
      if (name === "ns") filters.namespace = value;
      else if (name === "v") filters.verdict = value;
      else if (name === "q") filters.text = value;
      else if (name === "since" || name === "until") filters[name] = moment(value);
      else if (name === "hide" && value in HIDDEN) filters.hide.add(value);
      else if (known.has(bare)) filters.add(bare, value, bare !== name);
    }
    return filters;
  }

  /** The same question on a command line. */
  command() {
    const words = ["sluice", "observe"];
    const flag = (name, value) => words.push(`--${name}`, quote(value));
    if (this.namespace) flag("namespace", this.namespace);
    if (this.verdict) flag("verdict", this.verdict);
    for (const [name, value, negated] of this.list) {
      if (negated) words.push("--not");
      flag(name, value);
    }
    for (const group of this.hide) {
      words.push("--not");
      flag(...HIDDEN[group]);
    }
    for (const [name, value] of this.span()) flag(name, value);
    if (!this.past()) words.push("--follow");
    return words.join(" ") + (this.text ? ` | grep -iF -- ${quote(this.text)}` : "");
  }
}

/** A moment as the server writes it; nothing for what is none. */
export function moment(text) {
  const at = new Date(text);
  return text && !Number.isNaN(at.getTime()) ? at.toISOString() : "";
}

/** The same for an input of this place and its clock. */
export function local(text) {
  const at = new Date(text);
  if (!text || Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

/** For a POSIX shell. */
export function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
