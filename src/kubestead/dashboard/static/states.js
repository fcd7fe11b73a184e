// SPDX-License-Identifier: GPL-3.0-or-later
// How states look and in which order they matter. Which states there are, the lifecycle says.
import { STATES } from "./lifecycle.js";

/** What a machine of the registry that has never reported counts as here. */
export const SILENT = "none";

const LABELS = { [SILENT]: "no report yet", install_pending: "install pending" };
// What needs a person first, then what is at work, then what is well.
const BY_ATTENTION = [
  "failed", "discovered", "rescue", "installing", "provisioning", "install_pending", "installed", SILENT,
  "approved", "ready", "retired",
];
const WORKING = new Set(["install_pending", "installing", "installed", "provisioning"]);

export const ORDER = [...BY_ATTENTION, ...STATES.filter((state) => !BY_ATTENTION.includes(state))];
const RANKS = new Map(ORDER.map((state, rank) => [state, rank]));

export const stateOf = (machine) => machine.state ?? SILENT;
export const rank = (state) => RANKS.get(state) ?? ORDER.length;
export const label = (state) => LABELS[state] ?? state.replaceAll("_", " ");
export const isWorking = (state) => WORKING.has(state);
/** The name of the state's colours and icon; a state that this page does not know looks neutral. */
export const look = (state) => (BY_ATTENTION.includes(state) ? state : SILENT);

export const ROLES = [
  ["control-plane", "Control planes", "control plane"],
  ["worker", "Workers", "worker"],
  ["compute", "Compute", "compute"],
];
export const roleLabel = (role) => ROLES.find(([name]) => name === role)?.[2] ?? role ?? "";

const GOOD = /^(ready|ok|done|installed|configured|enabled|active|running|healthy|up|true|present|complete[d]?|success)\b/i;
const BAD = /^(fail|error|broken|unhealthy|down|missing|degraded|crash)/i;
/** Whether a feature's status is good, bad or neither; the words are shown in any case. */
export function verdict(status) {
  if (BAD.test(status)) return "bad";
  return GOOD.test(status) ? "good" : "open";
}
export const MARKS = { good: "✓", bad: "✗", open: "○" };
