// SPDX-License-Identifier: GPL-3.0-or-later
// The live stream: connected as long as the page is there, again after every loss, by where it had ended.
import { ask, RefusedError } from "./api.js";
import { EventParser } from "./sse.js";
import { now } from "./time.js";

const SILENCE = 40_000; // the API says something every 15 s
const SHORTEST_WAIT = 500;
const LONGEST_WAIT = 15_000;

export class Stream {
  #path;
  #handlers;
  #stopped = false;
  #lastId;
  #attempts = 0;
  #connection = null;
  #wake = null;
  #heard = 0;

  /**
   * Handlers: frame(event, data), which also tells that the stream is up; down({reason, retryAt, heard}), `heard`
   * being when the connection last gave a sign of life; refused(error), after which nothing is tried again.
   */
  constructor(path, handlers) {
    this.#path = path;
    this.#handlers = handlers;
    this.#run();
  }

  stop() {
    this.#stopped = true;
    this.#connection?.abort();
    this.#wake?.();
  }

  /** Try at once, where a connection is being waited for. */
  retry() {
    this.#attempts = 0;
    this.#wake?.();
  }

  /** After a sleep of the device: a connection that has been silent for long is most likely none. */
  check() {
    if (this.#wake) this.retry();
    else if (this.#heard && now() - this.#heard > SILENCE / 2) this.#connection?.abort(new Error("nothing was heard for long"));
  }

  async #run() {
    while (!this.#stopped) {
      let reason = "the API has ended the stream";
      let wait = 0;
      try {
        await this.#connect();
      } catch (error) {
        if (this.#stopped) return;
        if (error instanceof RefusedError && (error.status === 401 || error.status === 403)) {
          this.#handlers.refused(error);
          return;
        }
        reason = error.message;
        wait = (error.retryAfter ?? 0) * 1000;
      }
      if (this.#stopped) return;
      // Spread out, so that an API that comes back is not met by all viewers in one moment.
      const backOff = Math.min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** this.#attempts) * (0.75 + Math.random() / 2);
      wait = Math.max(wait, backOff);
      this.#attempts += 1;
      this.#handlers.down({ reason, retryAt: now() + wait, heard: this.#heard });
      await this.#pause(wait);
    }
  }

  async #connect() {
    const connection = new AbortController();
    this.#connection = connection;
    let watchdog;
    const heard = () => {
      clearTimeout(watchdog);
      this.#heard = now();
      watchdog = setTimeout(() => connection.abort(new Error("nothing was heard for long")), SILENCE);
    };
    heard();
    try {
      const headers = { Accept: "text/event-stream" };
      if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
      const response = await ask(this.#path, { headers, signal: connection.signal });
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      const parser = new EventParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        heard();
        for (const { event, id, data } of parser.push(decoder.decode(value, { stream: true }))) {
          this.#handlers.frame(event, JSON.parse(data));
          if (id) this.#lastId = id;
          this.#attempts = 0;
        }
      }
    } catch (error) {
      if (error instanceof RefusedError) throw error;
      const words = { TypeError: "the connection broke", SyntaxError: "the API sent what cannot be read" };
      throw new Error(words[error.name] ?? error.message, { cause: error });
    } finally {
      clearTimeout(watchdog);
      connection.abort();
      this.#connection = null;
    }
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
    });
  }
}
