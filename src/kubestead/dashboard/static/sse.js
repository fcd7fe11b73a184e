// SPDX-License-Identifier: GPL-3.0-or-later
// Server-sent events by fetch: an EventSource cannot send the Authorization header.

/** Cuts a stream's text into events, wherever the network happened to cut it. */
export class EventParser {
  #rest = "";
  #data = [];
  #event = "";
  #id;
  #afterCr = false;

  /** Take the next piece of text; give the events that are complete now. */
  push(text) {
    const events = [];
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    this.#afterCr = text ? text.endsWith("\r") : this.#afterCr;
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") this.#finish(events);
      else this.#take(line);
    }
    return events;
  }

  #take(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
  }

  #finish(events) {
    if (this.#data.length) events.push({ event: this.#event || "message", id: this.#id, data: this.#data.join("\n") });
    this.#data = [];
    this.#event = "";
  }
}
