// SPDX-License-Identifier: GPL-3.0-or-later
// One machine: all that is known of it, its history, and what may be done with it.
import { get } from "./api.js";
import { byId, icon, make, say, setHidden, setText } from "./dom.js";
import { nameOf } from "./model.js";
import { label, look, MARKS, roleLabel, stateOf, verdict } from "./states.js";
import { longSpan, moment, now, span } from "./time.js";

const FIRST = 50;
const MOST = 500;
const LONGEST_TEXT = 2000; // of what an event says; the newest error stands in full above

const dialog = byId("details");

export class Details {
  #model;
  #actions;
  #closed;
  #facts = new Map();
  #ticks = [];
  #state;
  #events = [];
  #limit = FIRST;
  #asked = 0;
  mac = null;

  /** `actions` draws what may be done; `closed(mac)` is called when the person has closed it. */
  constructor(model, actions, closed) {
    this.#model = model;
    this.#actions = actions;
    this.#closed = closed;
    byId("details-close").addEventListener("click", () => dialog.close());
    byId("history-more").addEventListener("click", () => this.#load(MOST));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      const { mac } = this;
      this.mac = null;
      this.#asked += 1;
      if (mac) this.#closed(mac);
    });
  }

  open(mac) {
    if (this.mac === mac) return;
    this.mac = mac;
    this.#state = undefined;
    this.#events = [];
    byId("history").replaceChildren();
    say(byId("history-problem"), null);
    say(byId("details-answer"), null);
    this.draw();
    if (!dialog.open) dialog.showModal();
    byId("details-close").focus();
    dialog.querySelector(".body").scrollTop = 0;
    this.#load(FIRST);
  }

  close() {
    if (dialog.open) dialog.close();
  }

  draw() {
    const machine = this.#model.machines.get(this.mac);
    if (!machine) return;
    setText(byId("details-name"), nameOf(machine));
    const sub = [machine.mac];
    if (!machine.registered) sub.push("not in the registry");
    setText(byId("details-sub"), sub.join(" · "));
    this.#drawState(machine);
    say(byId("details-error"), machine.error);
    this.#drawFacts(machine);
    this.#drawFeatures(machine);
    this.#actions.draw(machine, byId("details-actions"), byId("details-answer"));
    this.tick();
  }

  tick() {
    if (this.mac) for (const tick of this.#ticks) tick();
  }

  /** Add what the stream has brought. */
  news(events) {
    const own = events.filter((event) => event.mac === this.mac && this.#isNew(event));
    if (this.mac && own.length) {
      this.#events = [...own.reverse(), ...this.#events].slice(0, MOST);
      byId("history").prepend(...own.map((event) => this.#entry(event)));
    }
  }

  #isNew(event) {
    return !this.#events.length || event.id > this.#events[0].id;
  }

  /** Ask for the newest events. */
  async #load(limit) {
    const asked = (this.#asked += 1);
    const { mac } = this;
    this.#limit = limit;
    try {
      const events = await get(`/api/events?mac=${encodeURIComponent(mac)}&limit=${limit}`);
      if (asked !== this.#asked) return;
      const newer = this.#events.filter((event) => event.id > (events[0]?.id ?? 0));
      this.#events = [...newer, ...events];
      byId("history").replaceChildren(...this.#events.map((event) => this.#entry(event)));
      setHidden(byId("history-more"), events.length < this.#limit || this.#limit === MOST);
      say(byId("history-problem"), this.#events.length ? null : "Nothing has happened to it yet.");
      this.tick();
    } catch (error) {
      if (asked === this.#asked) say(byId("history-problem"), `The history cannot be shown: ${error.message}.`);
    }
  }

  /** After a loss of the connection there may be a gap: ask again. */
  refresh() {
    if (this.mac) this.#load(this.#limit);
  }

  #drawState(machine) {
    const state = stateOf(machine);
    const place = byId("details-state");
    if (this.#state !== state) {
      this.#state = state;
      const badge = make("span", { className: "badge" }, icon(look(state)), make("span", { className: "word", text: label(state) }));
      place.dataset.look = look(state);
      place.replaceChildren(badge, make("span", { className: "phase" }), make("p", { className: "message", dir: "auto" }));
    }
    const percent = machine.progress === null ? null : `${machine.progress} %`;
    setText(place.querySelector(".phase"), [machine.phase, percent].filter(Boolean).join(" · "));
    const message = machine.message ?? (state === "discovered" ? "New: it asks to be approved." : "");
    say(place.querySelector(".message"), message === machine.error ? "" : message);
  }

  #drawFacts(machine) {
    this.#ticks = [];
    const ago = (iso) => iso && (() => `${longSpan(now() - Date.parse(iso))} ago, ${moment(iso)}`);
    const { install } = machine;
    const facts = {
      Role: roleLabel(machine.role),
      Cluster: machine.cluster,
      "IP address": machine.ip,
      "Reports from": machine.address === machine.ip ? null : machine.address,
      System: [machine.os, machine.architecture].filter(Boolean).join(", "),
      Locked: machine.locked ? "yes: it will not be installed" : "no",
      "Last report": ago(machine.updated_at) ?? "never",
      [`In this state`]: machine.since && (() => `for ${longSpan(now() - Date.parse(machine.since))}`),
      Deadline: machine.deadline_at && (() => untilDeadline(machine.deadline_at)),
      Installation: installation(install),
      "Install attempts": install?.attempts ? `${install.attempts} of ${install.most_attempts}` : null,
    };
    for (const [name, value] of Object.entries(facts)) this.#drawFact(name, value);
  }

  #drawFact(name, value) {
    let fact = this.#facts.get(name);
    if (!fact) {
      fact = { term: make("dt", { text: name }), text: make("dd") };
      this.#facts.set(name, fact);
      byId("details-facts").append(fact.term, fact.text);
    }
    setHidden(fact.term, !value);
    setHidden(fact.text, !value);
    if (typeof value === "function") this.#ticks.push(() => setText(fact.text, value()));
    else setText(fact.text, value ?? "");
  }

  #drawFeatures(machine) {
    const list = byId("details-features");
    const names = [...new Set([...machine.features, ...Object.keys(machine.feature_status)])];
    const wanted = names.map((name) => [name, machine.feature_status[name] ?? ""]);
    const key = JSON.stringify(wanted);
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    const items = wanted.map(([name, status]) => {
      const item = make("li", {}, make("span", { text: name }));
      if (status) {
        item.dataset.verdict = verdict(status);
        item.append(make("span", { className: "status", dir: "auto", text: `${MARKS[verdict(status)]} ${status}` }));
      }
      return item;
    });
    list.replaceChildren(...(items.length ? items : [make("li", { className: "quiet-text", text: "none" })]));
  }

  #entry(event) {
    const time = make("time", { dateTime: event.at, title: moment(event.at) });
    time.dateTime = event.at;
    setText(time, `${span(now() - Date.parse(event.at))} ago`);
    const entry = make("li", { className: event.kind === "report" ? "small" : "" }, time, make("div", {}, ...told(event)));
    const state = event.kind === "report" ? null : event.state;
    if (state) entry.dataset.look = look(state);
    entry.prepend(state ? icon(look(state)) : make("span", { className: "speck", "aria-hidden": "true" }));
    return entry;
  }
}

/** What an event says, as elements. */
function told(event) {
  const parts = [make("p", { className: "what", text: headline(event) })];
  const percent = event.progress === null ? null : `${event.progress} %`;
  const where = [event.phase, percent].filter(Boolean).join(" · ");
  const said = [...new Set([event.message, event.error])].filter((text) => text && text !== headline(event));
  if (event.kind !== "report" && where) parts.push(make("p", { className: "where", text: where }));
  for (const text of said) {
    const short = text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)} …` : text;
    parts.push(make("p", { className: text === event.error ? "said error-text" : "said", dir: "auto", text: short }));
  }
  const features = Object.entries(event.features ?? {}).map(([name, status]) => `${name}: ${status}`);
  if (features.length) parts.push(make("p", { className: "where", dir: "auto", text: features.join(", ") }));
  if (event.actor) parts.push(make("p", { className: "actor", text: `by ${event.actor}` }));
  return parts;
}

function headline(event) {
  const percent = event.progress === null ? null : `${event.progress} %`;
  switch (event.kind) {
    case "report":
      return [event.phase, percent].filter(Boolean).join(" · ") || (event.message || event.error ? "said" : "reported");
    case "transition":
      return event.previous_state ? `${label(event.previous_state)} → ${label(event.state)}` : label(event.state);
    case "deadline":
      return `no report in time: ${label(event.previous_state ?? "")} → ${label(event.state ?? "failed")}`;
    case "lock":
      return "locked";
    case "unlock":
      return "unlocked";
    default:
      return event.kind;
  }
}

function untilDeadline(iso) {
  const left = Date.parse(iso) - now();
  return left > 0 ? `failed without a report within ${longSpan(left)}` : `passed ${longSpan(-left)} ago`;
}

function installation(install) {
  if (!install?.desired_id && !install?.completed_id) return null;
  return install.desired_id === install.completed_id ? "the one that was asked for is done" : "one is asked for and not done";
}
