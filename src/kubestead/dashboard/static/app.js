// SPDX-License-Identifier: GPL-3.0-or-later
// The page: sign-in, the live picture, and the parts that draw it.
import { Actions } from "./actions.js";
import { forgetToken, hasToken, keepToken, looksLikeToken, RefusedError, whoami } from "./api.js";
import { Details } from "./details.js";
import { byId, make, say, setAttribute, setHidden, setText } from "./dom.js";
import { Model, nameOf } from "./model.js";
import { Overview } from "./overview.js";
import { Rows } from "./rows.js";
import { label, stateOf } from "./states.js";
import { Stream } from "./stream.js";
import { longSpan, now } from "./time.js";

const NEWS_EVERY = 4000; // what is read aloud is gathered: it tells, it does not shout
const MOST_NAMES = 5;

const filter = { search: "", states: new Set(), roles: new Set(), cluster: "", sort: "attention", descending: false };
const model = new Model();
const actions = new Actions(model, (machine) => {
  model.answer(machine);
  schedule();
});
const details = new Details(model, actions, (mac) => {
  if (location.hash) history.replaceState(null, "", location.pathname);
  rows.focus(mac);
});
const overview = new Overview({ state: (name) => toggle(filter.states, name), role: (name) => toggle(filter.roles, name) });
const rows = new Rows({
  open: (mac) => (location.hash = mac),
  approve: (mac) => {
    location.hash = mac;
    openFromAddress();
    actions.run("approve", mac, byId("details-answer"));
  },
  leaveUp: () => byId("search").focus(),
});

let stream = null;
let link = { up: false, since: 0, retryAt: 0, reason: "" };
let pending = null;
let impatient = true;
let drawn = false;

// Signing in and out

async function signIn(event) {
  event.preventDefault();
  const text = byId("token").value.trim();
  if (!looksLikeToken(text)) {
    complain(text ? "That is no token: it is one word of plain letters, digits and signs." : "Type or paste a token.");
    return;
  }
  keepToken(text);
  byId("sign-in-form").setAttribute("aria-busy", "true");
  await enter();
  byId("sign-in-form").removeAttribute("aria-busy");
}

async function enter() {
  try {
    begin(await whoami());
  } catch (error) {
    if (error instanceof RefusedError) {
      leave(refusal(error));
    } else if (byId("app").hidden && !byId("sign-in").hidden) {
      forgetToken();
      complain("The State API does not answer. Is it running? On its host: systemctl status machine-state-api");
    } else {
      // Reloaded while the API is away: the token may well be right.
      lost({ reason: error.message, retryAt: now() + 3000 });
      show("app");
      setTimeout(() => hasToken() && !stream && enter(), 3000);
    }
  }
}

function refusal({ status, message }) {
  if (status !== 401) return `The API refuses: ${message}.`;
  return link.since ? "The token is no longer valid. Sign in again." : `This token does not open it: ${message}.`;
}

function complain(text) {
  say(byId("sign-in-problem"), text);
  byId("token").focus();
  byId("token").select();
}

function begin({ scope, name, mac }) {
  byId("token").value = "";
  say(byId("sign-in-problem"), null);
  actions.operator = scope === "operator";
  setText(byId("who"), [name, { read: "read only", machine: "its own machine only" }[scope] ?? scope].filter(Boolean).join(" · "));
  show("app");
  const path = scope === "machine" && mac ? `/api/stream?mac=${encodeURIComponent(mac)}` : "/api/stream";
  stream = new Stream(path, {
    frame: takeFrame,
    down: lost,
    refused: (error) => leave(refusal(error)),
  });
}

function leave(why) {
  forgetToken();
  stream?.stop();
  stream = null;
  details.close();
  model.replace({});
  model.takeChanged();
  rows.clear();
  drawn = false;
  impatient = true;
  link = { up: false, since: 0, retryAt: 0, reason: "" };
  setHidden(byId("offline"), true);
  setHidden(byId("registry"), true);
  overview.wait();
  document.title = "Kubestead";
  show("sign-in");
  if (why) complain(why);
  else byId("token").focus();
}

function show(part) {
  setHidden(byId("app"), part !== "app");
  setHidden(byId("sign-in"), part !== "sign-in");
}

// The stream

function takeFrame(event, data) {
  const wasDown = !link.up;
  link = { up: true, since: now(), retryAt: 0, reason: "" };
  if (event === "snapshot") {
    const before = new Map([...model.machines].map(([mac, machine]) => [mac, stateOf(machine)]));
    model.replace(data.machines);
    if (drawn) gatherNews(before, data.machines);
    if (wasDown && drawn) announce("Connected again.");
    // What has happened since is not in a picture of the moment.
    details.refresh();
  } else if (event === "change") {
    const machines = data.machines ?? {};
    const before = new Map(Object.keys(machines).map((mac) => [mac, stateOf(model.machines.get(mac) ?? {})]));
    model.merge(machines);
    gatherNews(before, machines);
    details.news(data.events ?? []);
  }
  if (data.registry) drawRegistry(data.registry);
  if (wasDown) drawLink();
  schedule();
}

function lost({ reason, retryAt, heard }) {
  const wasUp = link.up;
  // The picture was true as long as the connection lived, also where nothing changed.
  link = { up: false, since: wasUp ? heard : link.since, retryAt, reason };
  if (wasUp) announce("The connection is lost. What is shown may be out of date.");
  drawLink();
}

function drawLink() {
  const state = link.up ? "live" : link.retryAt ? "lost" : "connecting";
  setAttribute(byId("link"), "data-link", state);
  setText(byId("link-text"), { live: "Live", lost: "Not connected", connecting: "Connecting" }[state]);
  setHidden(byId("offline"), state !== "lost");
  byId("app").classList.toggle("old", state === "lost");
  tickLink();
}

function tickLink() {
  if (link.up || !link.retryAt) return;
  const age = link.since ? `What you see is ${longSpan(now() - link.since)} old.` : "There is no picture yet.";
  const left = Math.ceil((link.retryAt - now()) / 1000);
  setText(byId("offline-age"), age);
  setText(byId("offline-reason"), `${sentenceCase(link.reason)}; ${left > 0 ? `trying again in ${left} s` : "trying again now"}.`);
}

const sentenceCase = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// News for those who hear the page

let news = [];
let newsTimer = null;

function gatherNews(before, machines) {
  for (const [mac, machine] of Object.entries(machines)) {
    if (!machine) continue;
    const state = stateOf(machine);
    if (before.get(mac) !== state && (state === "failed" || state === "discovered")) news.push([state, nameOf(machine)]);
  }
  if (news.length && !newsTimer) {
    newsTimer = setTimeout(() => {
      newsTimer = null;
      announce(["failed", "discovered"].map(tell).filter(Boolean).join(" "));
      news = [];
    }, NEWS_EVERY);
  }
}

function tell(state) {
  const names = [...new Set(news.filter(([what]) => what === state).map(([, name]) => name))];
  if (!names.length) return "";
  const shown = names.slice(0, MOST_NAMES).join(", ");
  const rest = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  return `${label(state)}: ${shown}${rest}.`;
}

const announce = (text) => setText(byId("news"), text);

// Drawing

function schedule() {
  if (pending) return;
  // A page that is not seen draws nothing but its title.
  pending = document.hidden ? setTimeout(drawHidden, 1000) : requestAnimationFrame(draw);
}

function drawHidden() {
  pending = null;
  if (document.hidden) drawTitle(overview.draw(model, filter));
  else draw();
}

function draw() {
  pending = null;
  const changed = model.takeChanged();
  const order = model.shown(filter);
  drawTitle(overview.draw(model, filter));
  drawTools(order.length);
  rows.draw(order, changed, {
    machines: model.machines,
    canApprove: actions.operator,
    urgent: impatient,
    restless: filter.sort === "age" || filter.sort === "progress",
    settle,
  });
  impatient = false;
  if (!drawn && link.since) {
    drawn = true;
    openFromAddress();
  }
  if (details.mac && !model.machines.has(details.mac)) details.close();
  else if (details.mac && changed.has(details.mac)) details.draw();
}

function settle() {
  impatient = true;
  schedule();
}

function drawTitle({ failed, asking }) {
  const parts = [failed && `${failed} failed`, asking && `${asking} new`].filter(Boolean);
  const title = `${parts.length ? `${parts.join(", ")} – ` : ""}Kubestead`;
  if (document.title !== title) document.title = title;
}

function drawTools(shown) {
  const all = model.machines.size;
  const filtered = isFiltered();
  setText(byId("count"), filtered ? `${shown} of ${all}` : `${all} ${all === 1 ? "machine" : "machines"}`);
  setHidden(byId("clear"), !filtered);
  drawClusters();
  for (const button of document.querySelectorAll("[data-sort]")) {
    const own = button.dataset.sort === filter.sort;
    setAttribute(button.parentElement, "aria-sort", own ? (filter.descending ? "descending" : "ascending") : null);
  }
  if (byId("sort").value !== filter.sort) byId("sort").value = filter.sort;
  setHidden(byId("list"), shown === 0);
  const advice = all
    ? "No machine is like that."
    : "There is no machine yet. Describe one in the registry, or let one boot from the network: it shows up here.";
  say(byId("empty"), shown || !link.since ? null : advice);
}

function drawClusters() {
  const clusters = model.clusters();
  const select = byId("cluster");
  setHidden(byId("cluster-choice"), clusters.length < 2);
  if (select.dataset.key === clusters.join()) return;
  select.dataset.key = clusters.join();
  select.replaceChildren(make("option", { value: "", text: "all" }), ...clusters.map((name) => make("option", { value: name, text: name })));
  if (!clusters.includes(filter.cluster)) filter.cluster = "";
  select.value = filter.cluster;
}

function drawRegistry({ condition, problems = [], warnings = [] }) {
  const place = byId("registry");
  const bad = condition !== "ok";
  if (bad && (place.hidden || !place.classList.contains("bad"))) announce("The registry is not valid.");
  setHidden(place, !bad && !problems.length && !warnings.length);
  place.classList.toggle("bad", bad);
  setText(
    byId("registry-title"),
    bad ? `The registry is ${condition === "missing" ? "missing" : "not valid"}.` : warnings.length === 1 ? "The registry has a warning." : `The registry has ${warnings.length} warnings.`,
  );
  setText(byId("registry-advice"), bad ? "The last valid one stays in force until it is mended." : "");
  byId("registry-problems").replaceChildren(...problems.map((text) => make("li", { text })));
  const more = byId("registry-more");
  setHidden(more, !warnings.length);
  setText(more.querySelector("summary"), bad ? `Warnings: ${warnings.length}` : "Show");
  more.querySelector("ul").replaceChildren(...warnings.map((text) => make("li", { text })));
}

// What the person wants to see

function isFiltered() {
  return Boolean(filter.search || filter.states.size || filter.roles.size || filter.cluster);
}

function toggle(chosen, name) {
  if (!chosen.delete(name)) chosen.add(name);
  choose();
}

let countTimer = null;

function choose() {
  impatient = true;
  schedule();
  clearTimeout(countTimer);
  countTimer = setTimeout(() => announce(byId("count").textContent), 800);
}

function clearFilter() {
  filter.search = byId("search").value = "";
  filter.cluster = byId("cluster").value = "";
  filter.states.clear();
  filter.roles.clear();
  choose();
}

function sortBy(name) {
  filter.descending = filter.sort === name && !filter.descending;
  filter.sort = name;
  choose();
}

// The machine that is open is in the address: a reload keeps it, the way back closes it.
function openFromAddress() {
  const mac = decodeURIComponent(location.hash.slice(1));
  if (mac && model.machines.has(mac)) details.open(mac);
  else details.close();
}

function shortcut(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || byId("app").hidden) return;
  if (event.target.closest("input, select, textarea, dialog")) return;
  event.preventDefault();
  byId("search").focus();
  byId("search").select();
}

function searchKey(event) {
  if (event.key === "Escape" && byId("search").value) {
    event.preventDefault();
    byId("search").value = filter.search = "";
    choose();
  } else if (event.key === "ArrowDown" || event.key === "Enter") {
    event.preventDefault();
    // What was typed last has to be drawn before its first row is chosen.
    if (pending) cancelAnimationFrame(pending);
    draw();
    rows.focusFirst();
  }
}

function drawTheme() {
  const { choice } = kubesteadTheme;
  const name = { auto: "as the system has it", light: "light", dark: "dark" }[choice];
  byId("theme").querySelector("use").setAttribute("href", `#i-${choice}`);
  byId("theme").title = `Colours: ${name}`;
  setAttribute(byId("theme"), "aria-label", `Colours: ${name}. Change`);
}

byId("sign-in-form").addEventListener("submit", signIn);
byId("sign-out").addEventListener("click", () => leave());
byId("theme").addEventListener("click", () => {
  kubesteadTheme.next();
  drawTheme();
});
byId("offline-retry").addEventListener("click", () => (stream ? stream.retry() : enter()));
byId("search").addEventListener("input", () => {
  filter.search = byId("search").value;
  choose();
});
byId("search").addEventListener("keydown", searchKey);
byId("cluster").addEventListener("change", () => {
  filter.cluster = byId("cluster").value;
  choose();
});
byId("sort").addEventListener("change", () => {
  filter.sort = byId("sort").value;
  filter.descending = false;
  choose();
});
byId("clear").addEventListener("click", clearFilter);
for (const button of document.querySelectorAll("[data-sort]")) button.addEventListener("click", () => sortBy(button.dataset.sort));
document.addEventListener("keydown", shortcut);
window.addEventListener("hashchange", openFromAddress);
window.addEventListener("online", () => stream?.check());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  stream?.check();
  schedule();
});
setInterval(() => {
  if (document.hidden || byId("app").hidden) return;
  tickLink();
  rows.tick();
  details.tick();
}, 1000);
drawTheme();
if (hasToken()) enter();
else leave();
