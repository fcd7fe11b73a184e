// SPDX-License-Identifier: GPL-3.0-or-later
// Shows /openapi.json. Text only ever becomes text: nothing of it is read as markup.

const METHODS = ["get", "put", "post", "delete"];

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const text = (name, content, className = "") => element(name, { className, textContent: content });

// What is between backquotes is code; an empty line begins a paragraph.
function prose(written) {
  return written.split(/\n\s*\n/).filter((part) => part.trim()).map((part) => element("p", {},
    ...part.trim().split("`").map((piece, place) => (place % 2 ? text("code", piece) : piece))));
}

function resolve(document_, schema) {
  if (!schema || !schema.$ref) return schema;
  return schema.$ref.slice(2).split("/").reduce((found, key) => found[key], document_);
}

// A schema in few words: {mac: string, phase?: string | null}
function shape(document_, schema, depth = 0) {
  const found = resolve(document_, schema);
  if (!found || depth > 4) return "…";
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((word) => JSON.stringify(word)).join(" | ");
  for (const choice of [found.anyOf, found.oneOf]) {
    if (choice) return choice.map((each) => shape(document_, each, depth)).join(" | ");
  }
  if (found.type === "array") return `[${shape(document_, found.items ?? {}, depth + 1)}]`;
  if (found.properties) {
    const needed = new Set(found.required ?? []);
    const space = "  ".repeat(depth + 1);
    const lines = Object.entries(found.properties)
      .map(([key, value]) => `${space}${key}${needed.has(key) ? "" : "?"}: ${shape(document_, value, depth + 1)}`);
    return `{\n${lines.join(",\n")}\n${"  ".repeat(depth)}}`;
  }
  const others = Object.values(found.patternProperties ?? {})[0] ?? found.additionalProperties;
  if (typeof others === "object") return `{…: ${shape(document_, others, depth)}}`;
  return found.type ?? "any JSON";
}

function contentShape(document_, content) {
  if (!content) return null;
  const [kind, { schema }] = Object.entries(content)[0];
  return kind === "application/json" ? shape(document_, schema) : kind;
}

function table(heads, rows) {
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((head) => text("th", head)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) =>
      (typeof cell === "string" ? text("td", cell) : element("td", {}, cell)))))));
}

function operation(document_, method, path, about) {
  const scopes = about["x-scopes"];
  const body = contentShape(document_, about.requestBody?.content);
  const parameters = about.parameters ?? [];
  const statuses = Object.entries(about.responses);
  const good = statuses.find(([status]) => status.startsWith("2"));
  const gives = contentShape(document_, good?.[1].content);
  const shown = element("details", {},
    element("summary", {}, text("span", method.toUpperCase(), "method"), text("code", path),
      text("span", about.summary, "what")),
    element("div", {},
      ...prose((about.description ?? "").split("\n").slice(1).join("\n")),
      text("p", scopes ? `Token of the scope ${scopes.join(" or ")}.` : "No token is needed.", "soft"),
      parameters.length ? text("h3", "Parameters") : null,
      parameters.length ? table(["name", "in", "what"], parameters.map((each) =>
        [text("code", each.name), each.in, each.description ?? shape(document_, each.schema)])) : null,
      body ? text("h3", "Takes") : null, body ? text("pre", body) : null,
      gives ? text("h3", "Gives") : null, gives ? text("pre", gives) : null,
      text("h3", "Answers"),
      table(["status", "meaning"], statuses.map(([status, { description }]) => [text("code", status), description]))));
  shown.dataset.words = `${method} ${path} ${about.summary} ${about.description ?? ""}`.toLowerCase();
  return shown;
}

function show(document_) {
  document.title = document_.info.title;
  document.getElementById("title").textContent = `${document_.info.title} ${document_.info.version}`;
  document.getElementById("description").replaceWith(...prose(document_.info.description ?? ""));
  const sections = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const method of METHODS.filter((each) => each in methods)) {
      const name = methods[method].tags?.[0] ?? "Other";
      if (!sections.has(name)) sections.set(name, element("section", {}, text("h2", name)));
      sections.get(name).append(operation(document_, method, path, methods[method]));
    }
  }
  document.getElementById("paths").replaceChildren(...sections.values());
}

function filter(wanted) {
  for (const section of document.querySelectorAll("#paths section")) {
    let any = false;
    for (const each of section.querySelectorAll("details")) {
      each.hidden = !each.dataset.words.includes(wanted);
      any ||= !each.hidden;
    }
    section.hidden = !any;
  }
}

try {
  const answer = await fetch("/openapi.json", { credentials: "omit" });
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  show(await answer.json());
  const input = document.getElementById("filter");
  input.addEventListener("input", () => filter(input.value.trim().toLowerCase()));
} catch (error) {
  document.getElementById("paths").replaceChildren(text("p", `/openapi.json cannot be read: ${error.message}`));
}
