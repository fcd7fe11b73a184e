// SPDX-License-Identifier: GPL-3.0-or-later
// The picture: every machine as the API last showed it, and which of them the person wants to see, in which order.
import { rank, ROLES, stateOf } from "./states.js";

const NAMES = new Intl.Collator(undefined, { numeric: true });
const byName = (a, b) => NAMES.compare(nameOf(a), nameOf(b));
const ROLE_RANK = new Map(ROLES.map(([name], index) => [name, index]));
const roleRank = (machine) => ROLE_RANK.get(machine.role) ?? ROLES.length;
const time = (iso) => (iso ? Date.parse(iso) : 0);

const SORTS = {
  attention: (a, b) => rank(stateOf(a)) - rank(stateOf(b)),
  state: (a, b) => rank(stateOf(a)) - rank(stateOf(b)),
  name: () => 0,
  role: (a, b) => roleRank(a) - roleRank(b),
  progress: (a, b) => (b.progress ?? -1) - (a.progress ?? -1),
  age: (a, b) => time(b.updated_at) - time(a.updated_at),
};

export const nameOf = (machine) => machine.hostname ?? machine.mac;

export class Model {
  machines = new Map();
  /** MACs that have changed since `takeChanged`. */
  #changed = new Set();
  #needles = new Map();

  /** Take a whole picture. */
  replace(machines) {
    for (const mac of this.machines.keys()) if (!(mac in machines)) this.#remove(mac);
    for (const machine of Object.values(machines)) this.#put(machine);
  }

  /** Take the answer to an action, unless the stream has overtaken it. */
  answer(machine) {
    const known = this.machines.get(machine.mac);
    if (!known || machine.version >= known.version) this.#put(machine);
  }

  /** Take what has changed; a machine that is null is gone. */
  merge(machines) {
    for (const [mac, machine] of Object.entries(machines)) {
      if (machine === null) this.#remove(mac);
      else this.#put(machine);
    }
  }

  takeChanged() {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  /** How many machines are in which state, of one role or of all. */
  counts(keep = () => true) {
    const counts = new Map();
    for (const machine of this.machines.values()) {
      if (keep(machine)) counts.set(stateOf(machine), (counts.get(stateOf(machine)) ?? 0) + 1);
    }
    return counts;
  }

  clusters() {
    return [...new Set([...this.machines.values()].map((machine) => machine.cluster).filter(Boolean))].sort();
  }

  /** The machines to be shown, in order. */
  shown({ search, states, roles, cluster, sort, descending }) {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean).map((word) => [word, macDigits(word)]);
    const found = [];
    for (const machine of this.machines.values()) {
      if (states.size && !states.has(stateOf(machine))) continue;
      if (roles.size && !roles.has(machine.role)) continue;
      if (cluster && machine.cluster !== cluster) continue;
      const [text, digits] = this.#needles.get(machine.mac);
      if (words.every(([word, hex]) => text.includes(word) || (hex && digits.includes(hex)))) found.push(machine);
    }
    const direction = descending ? -1 : 1;
    if (sort === "name") return found.sort((a, b) => direction * byName(a, b));
    const compare = SORTS[sort];
    return found.sort((a, b) => direction * compare(a, b) || byName(a, b));
  }

  #put(machine) {
    this.machines.set(machine.mac, machine);
    this.#changed.add(machine.mac);
    const { hostname, mac, ip, address } = machine;
    this.#needles.set(mac, [[hostname, mac, ip, address].join(" ").toLowerCase(), macDigits(mac)]);
  }

  #remove(mac) {
    this.machines.delete(mac);
    this.#needles.delete(mac);
    this.#changed.add(mac);
  }
}

// A MAC, or its beginning, is found in whatever notation it is typed: 52-54-00…, 5254.00…, 525400….
const NOTATIONS = /^(([0-9a-f]{2}[:-])+[0-9a-f]{0,2}|[0-9a-f]{4}(\.[0-9a-f]{0,4}){1,2}|[0-9a-f]{6,12})$/;
const macDigits = (text) => (NOTATIONS.test(text) ? text.replace(/[:.-]/g, "") : "");
