// SPDX-License-Identifier: GPL-3.0-or-later
// What an operator may do with a machine. Each names the version that the person has seen, so that nobody
// decides on a picture that is no longer true.
import { get, post, RefusedError } from "./api.js";
import { byId, make, say, setAttribute, setHidden, setText } from "./dom.js";
import { POSSIBLE_IN } from "./lifecycle.js";
import { nameOf } from "./model.js";
import { label, stateOf } from "./states.js";

const ACTIONS = {
  approve: { title: "Approve", done: "approved" },
  unlock: { title: "Unlock", done: "unlocked" },
  lock: { title: "Lock", done: "locked" },
  reinstall: {
    title: "Reinstall …",
    done: "to be installed anew when it boots next",
    ask: (machine) => ({
      title: `Reinstall ${nameOf(machine)}?`,
      text: "At its next boot from the network the installer writes its disk anew. All that is on it is lost.",
      button: "Reinstall",
      typed: machine.hostname,
    }),
  },
  retire: {
    title: "Retire …",
    done: "retired",
    ask: (machine) => ({
      title: `Retire ${nameOf(machine)}?`,
      text: "It counts as taken out of service. Nothing on it is touched. Approve brings it back.",
      button: "Retire",
    }),
  },
};

const confirmDialog = byId("confirm");

export class Actions {
  #model;
  #operator = false;
  #answered;
  #confirming = null;
  #shown = "";
  #busy = false;

  /** `answered(machine)` is called with what a machine has become. */
  constructor(model, answered) {
    this.#model = model;
    this.#answered = answered;
    byId("confirm-cancel").addEventListener("click", () => confirmDialog.close());
    confirmDialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#confirmed();
    });
    confirmDialog.addEventListener("click", (event) => event.target === confirmDialog && confirmDialog.close());
    confirmDialog.addEventListener("close", () => (this.#confirming = null));
  }

  set operator(is) {
    this.#operator = is;
    this.#shown = "";
  }

  get operator() {
    return this.#operator;
  }

  /** Draw the buttons for what is possible now. */
  draw(machine, place, answer) {
    const names = this.#operator ? Object.keys(ACTIONS).filter((name) => isPossible(name, machine)) : [];
    const key = [machine.mac, stateOf(machine), ...names].join();
    if (this.#shown !== key) {
      this.#shown = key;
      const focused = place.contains(document.activeElement);
      place.replaceChildren(...names.map((name) => this.#button(name, machine, answer)));
      setHidden(place, !names.length);
      if (focused) (place.querySelector("button") ?? byId("details-close")).focus();
    }
    if (this.#confirming?.mac === machine.mac) this.#drawChange(machine);
  }

  /** Do what needs no question; the answer goes to `answer`. */
  async run(name, mac, answer) {
    if (this.#busy) return;
    const seen = this.#model.machines.get(mac);
    const { ask } = ACTIONS[name];
    if (ask) this.#ask(name, seen, ask(seen), answer);
    else await this.#perform(name, seen, {}, answer);
  }

  #button(name, machine, answer) {
    const button = make("button", { type: "button", text: ACTIONS[name].title });
    button.dataset.action = name;
    if (name === "approve" && machine.state === "discovered") button.className = "primary";
    button.addEventListener("click", () => this.run(name, machine.mac, answer));
    return button;
  }

  #ask(name, seen, { title, text, button, typed }, answer) {
    this.#confirming = { name, mac: seen.mac, seen, typed, answer };
    setText(byId("confirm-title"), title);
    setText(byId("confirm-text"), text);
    setText(byId("confirm-do"), button);
    setText(byId("confirm-label"), typed ? `To confirm, type ${typed}` : "");
    byId("confirm-input").value = "";
    setHidden(byId("confirm-label"), !typed);
    setHidden(byId("confirm-input"), !typed);
    say(byId("confirm-problem"), null);
    say(byId("confirm-changed"), null);
    confirmDialog.showModal();
    (typed ? byId("confirm-input") : byId("confirm-cancel")).focus();
  }

  #drawChange(machine) {
    const { seen } = this.#confirming;
    if (seen.version === machine.version) return; // a report changes what it says, not what it is
    say(byId("confirm-changed"), `Meanwhile it has changed: ${difference(seen, machine)}.`);
    this.#confirming.seen = machine;
  }

  async #confirmed() {
    const { name, seen, typed, answer } = this.#confirming;
    const given = byId("confirm-input").value.trim();
    if (typed && given !== typed) {
      say(byId("confirm-problem"), given ? `“${given}” is not ${typed}.` : `Type ${typed} to confirm.`);
      byId("confirm-input").focus();
      return;
    }
    confirmDialog.close();
    await this.#perform(name, seen, typed ? { hostname: typed } : {}, answer);
  }

  async #perform(name, seen, body, answer) {
    this.#busy = true;
    answer.dataset.kind = "wait";
    try {
      const machine = await this.#send(name, seen, body);
      answer.dataset.kind = "good";
      say(answer, `${nameOf(machine)} is ${ACTIONS[name].done}.`);
      this.#answered(machine);
    } catch (error) {
      answer.dataset.kind = "bad";
      say(answer, error.message.endsWith(".") ? error.message : `${error.message}.`);
    } finally {
      this.#busy = false;
    }
  }

  /** Send it for the machine as it was seen; if it is another by now, tell how. */
  async #send(name, seen, body) {
    const path = `/api/machines/${encodeURIComponent(seen.mac)}`;
    try {
      return await post(`${path}/${name}`, { ...body, version: seen.version });
    } catch (error) {
      if (!(error instanceof RefusedError) || error.status !== 409) throw error;
      const current = await get(path);
      this.#answered(current);
      if (current.version === seen.version) throw error;
      throw new Error(
        `Nothing was done, because somebody has changed it meanwhile: ${difference(seen, current)}. Look again, then decide.`,
      );
    }
  }
}

function isPossible(name, machine) {
  if (name === "lock") return !machine.locked;
  if (name === "unlock") return machine.locked;
  if (name === "reinstall") return machine.registered && !machine.locked && fits(name, machine);
  return fits(name, machine);
}

// A machine of the registry that was never seen counts as approved, any other as discovered.
function fits(name, machine) {
  const state = machine.state ?? (machine.registered ? "approved" : "discovered");
  return POSSIBLE_IN[name].includes(state);
}

function difference(before, after) {
  const parts = [];
  if (stateOf(before) !== stateOf(after)) parts.push(`it was ${label(stateOf(before))} and is ${label(stateOf(after))} now`);
  if (before.locked !== after.locked) parts.push(after.locked ? "it is locked now" : "it is not locked any more");
  if (before.hostname !== after.hostname) parts.push(`it is called ${nameOf(after)} now`);
  if (!parts.length) parts.push(`it is ${label(stateOf(after))} again`);
  return parts.join(", ");
}
