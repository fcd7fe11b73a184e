// SPDX-License-Identifier: GPL-3.0-or-later
// The cluster as a whole: how many machines are in which state, of which role.
import { byId, icon, make, setAttribute, setHidden, setText } from "./dom.js";
import { label, look, ORDER, ROLES, SILENT } from "./states.js";

const total = (counts) => [...counts.values()].reduce((sum, count) => sum + count, 0);
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export class Overview {
  #bar = byId("bar");
  #legend = byId("legend");
  #roles = byId("roles");
  #headline = byId("headline");
  #segments = new Map();
  #chips = new Map();
  #tiles = new Map();
  #handlers;

  /** Handlers: state(name), role(name) when one is to be shown, or no more. */
  constructor(handlers) {
    this.#handlers = handlers;
    for (const state of ORDER) this.#addState(state);
    for (const [role, title] of ROLES) this.#addRole(role, title);
  }

  /** Draw the counts and what is chosen; give the headline. */
  draw(model, filter) {
    const counts = model.counts();
    for (const [state, chip] of this.#chips) this.#drawState(state, chip, counts, filter.states);
    for (const [role, tile] of this.#tiles) {
      this.#drawRole(tile, model.counts((machine) => machine.role === role), filter.roles.has(role));
    }
    this.#drawHeadline(headline(counts));
    return { failed: counts.get("failed") ?? 0, asking: counts.get("discovered") ?? 0 };
  }

  #drawHeadline(parts) {
    const key = JSON.stringify(parts);
    if (this.#headline.dataset.key === key) return;
    this.#headline.dataset.key = key;
    this.#headline.replaceChildren(
      ...parts.map(([text, state], index) => {
        const part = make("span", { text: index < parts.length - 1 ? `${text}, ` : text });
        if (state) part.dataset.look = look(state);
        return part;
      }),
    );
  }

  /** Show that there is no picture yet. */
  wait() {
    this.#drawHeadline([["Waiting for the first picture …"]]);
  }

  #addState(state) {
    const segment = make("span", { className: "segment" });
    segment.dataset.look = look(state);
    segment.addEventListener("click", () => this.#handlers.state(state));
    const count = make("span", { className: "number" });
    const chip = make("button", { className: "chip", type: "button" }, icon(look(state)), count, make("span", { text: label(state) }));
    chip.dataset.look = look(state);
    chip.dataset.state = state;
    chip.addEventListener("click", () => this.#handlers.state(state));
    this.#segments.set(state, segment);
    this.#chips.set(state, { chip, count });
    this.#bar.append(segment);
    this.#legend.append(chip);
  }

  #addRole(role, title) {
    const ready = make("span", { className: "number" });
    const of = make("span", { className: "of" });
    const bar = make("span", { className: "small-bar", "aria-hidden": "true" });
    const tile = make("button", { className: "tile", type: "button" }, make("span", { className: "line-up" }, make("span", { className: "title", text: title }), make("span", {}, ready, of)), bar);
    tile.dataset.role = role;
    tile.addEventListener("click", () => this.#handlers.role(role));
    const segments = new Map(ORDER.map((state) => [state, make("span", { className: "segment" })]));
    for (const [state, segment] of segments) {
      segment.dataset.look = look(state);
      bar.append(segment);
    }
    this.#tiles.set(role, { tile, ready, of, segments });
    this.#roles.append(tile);
  }

  #drawState(state, { chip, count }, counts, chosen) {
    const number = counts.get(state) ?? 0;
    const pressed = chosen.has(state);
    const segment = this.#segments.get(state);
    setText(count, String(number));
    setHidden(chip, !number && !pressed);
    setAttribute(chip, "aria-pressed", pressed);
    setHidden(segment, !number);
    setAttribute(segment, "title", `${number} ${label(state)}`);
    segment.style.flexGrow = String(number);
    segment.classList.toggle("faint", chosen.size > 0 && !pressed);
  }

  #drawRole({ tile, ready, of, segments }, counts, pressed) {
    const all = total(counts);
    setHidden(tile, !all && !pressed);
    setAttribute(tile, "aria-pressed", pressed);
    setText(ready, String(counts.get("ready") ?? 0));
    setText(of, ` of ${all} ready`);
    for (const [state, segment] of segments) {
      setHidden(segment, !counts.get(state));
      segment.style.flexGrow = String(counts.get(state) ?? 0);
    }
  }
}

/** What a person at midnight wants to know, in one line: words, each with the state that it is about. */
function headline(counts) {
  const all = total(counts);
  if (!all) return [["No machines yet"]];
  const of = (state) => counts.get(state) ?? 0;
  const serving = all - of("retired");
  const parts = [];
  if (of("failed")) parts.push([`${of("failed")} failed`, "failed"]);
  if (of("discovered")) parts.push([plural(of("discovered"), "asks for approval", "ask for approval"), "discovered"]);
  if (of("rescue")) parts.push([`${of("rescue")} in rescue`, "rescue"]);
  const working = ["install_pending", "installing", "installed", "provisioning"].reduce((sum, state) => sum + of(state), 0);
  if (working) parts.push([`${working} at work`]);
  if (serving && of("ready") === serving) return [[serving === 1 ? "The machine is ready" : `All ${serving} machines are ready`]];
  if (of(SILENT) + of("approved")) parts.push([`${of(SILENT) + of("approved")} waiting`]);
  return [...parts, [`${of("ready")} of ${serving} ready`]];
}
