// SPDX-License-Identifier: GPL-3.0-or-later
// The list. A row is made once; after that only what has changed in it is touched.
import { byId, setAttribute, setHidden, setText } from "./dom.js";
import { nameOf } from "./model.js";
import { isWorking, label, look, MARKS, roleLabel, stateOf, verdict } from "./states.js";
import { moment, now, span } from "./time.js";

const LONGEST_TEXT = 300; // of a message in a row; the details have the whole
const STILL = 4000; // how long the order stands still under a pointer
const CALM = 3000; // and at least, where it follows what changes with every report

const template = byId("row-template");

class Row {
  constructor(machine) {
    this.element = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.badge = find(".badge");
    this.word = find(".word");
    this.use = find(".badge use");
    this.name = find(".name");
    this.locked = find(".locked");
    this.sub = find(".sub");
    this.role = find(".c-role");
    this.features = find(".c-features");
    this.says = find(".says");
    this.phase = find(".phase");
    this.percent = find(".percent");
    this.track = find(".track");
    this.fill = find(".fill");
    this.message = find(".c-message");
    this.text = find(".text");
    this.time = find("time");
    this.element.dataset.mac = machine.mac;
    this.state = undefined;
  }

  draw(machine, canApprove) {
    const state = stateOf(machine);
    this.machine = machine;
    if (state !== this.state) {
      this.element.dataset.look = look(state);
      setText(this.word, label(state));
      this.use.setAttribute("href", `#i-${look(state)}`);
      this.element.classList.toggle("changed", this.state !== undefined);
      this.state = state;
    }
    setText(this.name, nameOf(machine));
    setHidden(this.locked, !machine.locked);
    const second = [machine.ip ?? machine.address, machine.hostname ? machine.mac : "not in the registry"];
    setText(this.sub, second.filter(Boolean).join(" · "));
    setText(this.role, roleLabel(machine.role));
    setText(this.features, featureText(machine));
    this.#drawProgress(machine, state);
    const text = summary(machine);
    setText(this.text, text);
    setAttribute(this.text, "title", text.length > 40 ? text : null);
    this.#drawApprove(canApprove && state === "discovered");
    this.tick();
  }

  /** Draw what changes by time alone. */
  tick() {
    const { updated_at: updated, deadline_at: deadline } = this.machine;
    if (!updated) {
      setText(this.time, "–");
      return;
    }
    if (this.updated !== updated) {
      this.updated = updated;
      this.time.dateTime = updated;
      this.time.title = `last report: ${moment(updated)}`;
    }
    setText(this.time, span(now() - Date.parse(updated)));
    const late = Boolean(deadline) && (Date.parse(deadline) - now()) * 3 < now() - Date.parse(updated);
    if (this.late !== late) {
      this.late = late;
      this.time.classList.toggle("late", late);
    }
  }

  #drawProgress({ progress, phase }, state) {
    // How far it was, where it failed, is a part of the reason.
    const shown = isWorking(state) || (state === "failed" && (phase !== null || progress !== null));
    setHidden(this.says, !shown);
    setHidden(this.track, !shown);
    setText(this.phase, shown ? (phase ?? "") : "");
    setText(this.percent, shown && progress !== null ? `${progress} %` : "");
    if (!shown) return;
    if (this.progress !== progress) {
      this.progress = progress;
      this.fill.style.transform = `scaleX(${(progress ?? 0) / 100})`;
      setAttribute(this.track, "aria-valuenow", progress);
    }
  }

  #drawApprove(wanted) {
    if (wanted && !this.approve) {
      this.approve = document.createElement("button");
      this.approve.type = "button";
      this.approve.className = "approve";
      this.approve.textContent = "Approve";
      this.approve.tabIndex = this.name.tabIndex;
      this.message.append(this.approve);
    } else if (!wanted && this.approve) {
      this.approve.remove();
      this.approve = null;
    }
    if (this.approve) setAttribute(this.approve, "aria-label", `Approve ${nameOf(this.machine)}`);
  }

  set tabStop(is) {
    this.name.tabIndex = is ? 0 : -1;
    if (this.approve) this.approve.tabIndex = this.name.tabIndex;
  }
}

/** What is said of a machine in one line: why it failed before anything else. */
export function summary(machine) {
  const { error, message } = machine;
  const said = stateOf(machine) === "failed" && error ? error : message || error || "";
  const line = (said || hint(machine)).slice(0, LONGEST_TEXT * 2).replace(/\s+/g, " ").trim();
  return line.length > LONGEST_TEXT ? `${line.slice(0, LONGEST_TEXT)} …` : line;
}

function hint(machine) {
  if (stateOf(machine) === "discovered") return "New: it asks to be approved.";
  if (!machine.state) return "In the registry; it has never reported.";
  return "";
}

function featureText(machine) {
  const status = machine.feature_status;
  const names = [...new Set([...machine.features, ...Object.keys(status)])];
  const marked = names.map((name) => {
    const is = status[name] === undefined ? null : verdict(status[name]);
    return { text: is ? `${name}\u00a0${MARKS[is]}` : name, bad: is === "bad" };
  });
  // Text is cut at the end where room is short: what is broken stands first.
  return [...marked.filter(({ bad }) => bad), ...marked.filter(({ bad }) => !bad)].map(({ text }) => text).join(" · ");
}

export class Rows {
  #container = byId("rows");
  #rows = new Map();
  #order = [];
  #current = null;
  #touched = 0;
  #arranged = 0;
  #later = null;
  #handlers;

  /** Handlers: open(mac), approve(mac), leaveUp() from the first row. */
  constructor(handlers) {
    this.#handlers = handlers;
    this.#container.addEventListener("click", (event) => this.#click(event));
    this.#container.addEventListener("keydown", (event) => this.#key(event));
    this.#container.addEventListener("focusin", (event) => this.#moveTabStop(event.target.closest(".row")?.dataset.mac));
    for (const kind of ["pointermove", "pointerdown"]) {
      this.#container.addEventListener(kind, () => (this.#touched = performance.now()), { passive: true });
    }
    this.#container.addEventListener("pointerleave", () => (this.#touched = 0));
  }

  /**
   * Draw the machines of `order`, of which those in `changed` differ from what is drawn.
   * Unless it is `urgent`, because the person has asked for it, a new order waits while the pointer is at work in
   * the list, so that nobody clicks on what has just moved away, and a `restless` one waits in any case.
   * `settle` is called when it may be drawn.
   */
  draw(order, changed, { machines, canApprove, urgent, restless, settle }) {
    for (const mac of changed) if (machines.has(mac)) this.#rows.get(mac)?.draw(machines.get(mac), canApprove);
    clearTimeout(this.#later);
    if (this.#sameOrder(order)) return;
    const untouched = this.#touched ? this.#touched + STILL : 0;
    const wait = Math.max(untouched, restless ? this.#arranged + CALM : 0) - performance.now();
    if (!urgent && wait > 0) {
      this.#later = setTimeout(settle, wait);
      return;
    }
    this.#arrange(order, changed, canApprove);
  }

  #sameOrder(order) {
    return order.length === this.#order.length && order.every(({ mac }, index) => this.#order[index] === mac);
  }

  #arrange(order, changed, canApprove) {
    const focused = document.activeElement;
    const wanted = new Set(order.map(({ mac }) => mac));
    for (const [mac, row] of this.#rows) {
      if (wanted.has(mac)) continue;
      row.element.remove();
      this.#rows.delete(mac);
    }
    const elements = order.map((machine) => {
      let row = this.#rows.get(machine.mac);
      if (!row) {
        row = new Row(machine);
        row.draw(machine, canApprove);
        this.#rows.set(machine.mac, row);
      }
      return row.element;
    });
    // Those that have changed find their places first; then, mostly, nothing else has to move.
    for (const only of [changed, null]) {
      for (let index = elements.length - 1; index >= 0; index -= 1) {
        if (!only || only.has(elements[index].dataset.mac)) this.#place(elements[index], elements[index + 1] ?? null);
      }
    }
    this.#order = order.map(({ mac }) => mac);
    this.#arranged = performance.now();
    if (!wanted.has(this.#current)) this.#moveTabStop(this.#order[0]);
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  #place(element, next) {
    if (element.isConnected && element.nextElementSibling === next) return;
    if (next && !next.isConnected) next = null;
    // Keeps the focus and the hover of what it moves; not every browser has it.
    if (element.isConnected && this.#container.moveBefore) this.#container.moveBefore(element, next);
    else this.#container.insertBefore(element, next);
  }

  tick() {
    for (const row of this.#rows.values()) row.tick();
  }

  clear() {
    this.#container.replaceChildren();
    this.#rows.clear();
    this.#order = [];
  }

  focusFirst() {
    return this.#focus(this.#order[0]);
  }

  focus(mac) {
    return this.#focus(this.#rows.has(mac) ? mac : this.#order[0]);
  }

  #focus(mac) {
    const row = this.#rows.get(mac);
    row?.name.focus();
    row?.element.scrollIntoView({ block: "nearest" });
    return Boolean(row);
  }

  #moveTabStop(mac) {
    if (mac === this.#current) return;
    const before = this.#rows.get(this.#current);
    if (before) before.tabStop = false;
    const row = this.#rows.get(mac);
    if (row) row.tabStop = true;
    this.#current = mac ?? null;
  }

  #click(event) {
    const mac = event.target.closest(".row")?.dataset.mac;
    if (!mac) return;
    if (event.target.closest(".approve")) this.#handlers.approve(mac);
    else if (event.target.closest(".name") || getSelection().isCollapsed) this.#handlers.open(mac);
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const index = this.#order.indexOf(event.target.closest(".row")?.dataset.mac);
    const last = this.#order.length - 1;
    const page = 10;
    const to = {
      ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: last,
      PageDown: Math.min(last, index + page), PageUp: Math.max(0, index - page),
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0) this.#handlers.leaveUp();
    else this.#focus(this.#order[Math.min(to, last)]);
  }
}
