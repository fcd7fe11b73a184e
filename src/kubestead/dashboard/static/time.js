// SPDX-License-Identifier: GPL-3.0-or-later
// Ages by the API's clock: the one of a phone, or of this computer, may be wrong.

let ahead = 0;

/** Learn the API's clock from an answer's Date. */
export function learnClock(response) {
  const date = Date.parse(response.headers.get("date") ?? "");
  // The header has whole seconds; less than two apart is the same clock.
  if (!Number.isNaN(date)) ahead = Math.abs(date - Date.now()) < 2000 ? 0 : date - Date.now();
}

export const now = () => Date.now() + ahead;

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
];

/** A span in one short unit: 12 s, 4 min, 3 h, 2 d. */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  for (const [unit, length] of UNITS) if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  return `${seconds} s`;
}

/** A span in two units, for a place with room: 2 h 14 min. */
export function longSpan(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const large = UNITS.findIndex(([, length]) => seconds >= length);
  if (large < 0) return `${seconds} s`;
  const rest = seconds % UNITS[large][1];
  const [unit, length] = UNITS[large + 1] ?? ["s", 1];
  const small = Math.floor(rest / length);
  return `${Math.floor(seconds / UNITS[large][1])} ${UNITS[large][0]}${small ? ` ${small} ${unit}` : ""}`;
}

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const moment = (iso) => MOMENT.format(new Date(iso));
