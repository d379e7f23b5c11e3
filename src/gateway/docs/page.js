"use strict";

// Every text goes in through textContent, so nothing of the contract or of an answer is taken for markup.
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const credential = document.getElementById("credential");

const sample = (schema, components) => {
  if (!schema) return null;
  if (schema.$ref) return sample(components[schema.$ref.split("/").pop()], components);
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf && !schema.properties) return sample(schema.anyOf[0], components);
  if (schema.type === "object") {
    const needed = schema.required || (schema.anyOf && schema.anyOf[0].required) || [];
    const names = Object.keys(schema.properties || {}).filter((name) => needed.includes(name));
    return Object.fromEntries(names.map((name) => [name, sample(schema.properties[name], components)]));
  }
  if (schema.type === "array") return [sample(schema.items, components)];
  return { string: "text", integer: 0, number: 0, boolean: true }[schema.type] ?? null;
};

const attempt = async (method, path, operation, fields, body, output) => {
  const query = new URLSearchParams();
  let target = path;
  for (const [parameter, input] of fields) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.append(parameter.name, input.value);
  }
  const headers = {};
  if (operation.security.length && credential.value) headers.Authorization = `Bearer ${credential.value}`;
  const init = { method, headers };
  if (body) {
    headers["Content-Type"] = body.type;
    init.body = body.input.value;
  }
  output.textContent = "…";
  try {
    const answer = await fetch(query.size ? `${target}?${query}` : target, init);
    const text = await answer.text();
    const lines = [`${answer.status} ${answer.statusText}`];
    answer.headers.forEach((value, name) => lines.push(`${name}: ${value}`));
    let shown = text;
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // It is not JSON, and is shown as it came.
    }
    output.textContent = `${lines.join("\n")}\n\n${shown}`;
  } catch (error) {
    output.textContent = String(error);
  }
};

const show = (path, method, operation, components) => {
  const inside = make("div");
  const fields = (operation.parameters || []).map((parameter) => {
    const input = make("input", { placeholder: parameter.required ? "needed" : "" });
    const about = `${parameter.name} (${parameter.in}) ${parameter.description || ""}`;
    inside.append(make("label", {}, about, input));
    return [parameter, input];
  });
  let body = null;
  const content = Object.entries(operation.requestBody?.content || {})[0];
  if (content) {
    const [type, { schema }] = content;
    const text = type === "application/json" ? JSON.stringify(sample(schema, components), null, 2) : "";
    const input = make("textarea", { rows: 6, value: text });
    inside.append(make("label", {}, `Body (${type})`, input));
    body = { type, input };
  }
  const rows = Object.entries(operation.responses).map(([status, { description }]) =>
    make("tr", {}, make("td", {}, status), make("td", {}, description)));
  inside.append(make("table", {}, ...rows));
  const output = make("pre", { textContent: "not tried yet" });
  const button = make("button", { type: "button", textContent: "Try it" });
  button.addEventListener("click", () => attempt(method.toUpperCase(), path, operation, fields, body, output));
  inside.append(make("p", {}, button), output);
  const open = operation.security.length ? "" : " open to everybody";
  return make("details", {},
    make("summary", {},
      make("span", { className: "method", textContent: method.toUpperCase() }),
      make("code", { textContent: path }), ` ${operation.summary}`,
      make("span", { className: "open", textContent: open })),
    inside);
};

const load = async () => {
  const main = document.getElementById("contract");
  const contract = await (await fetch("/openapi.json")).json();
  const chapters = new Map(contract.tags.map((tag) => [tag.name, make("section", {},
    make("h2", { textContent: tag.name }), make("p", { textContent: tag.description }))]));
  for (const [path, item] of Object.entries(contract.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (!operation.deprecated) {
        chapters.get(operation.tags[0]).append(show(path, method, operation, contract.components.schemas));
      }
    }
  }
  main.replaceChildren(...chapters.values());
};

load().catch((error) => {
  document.getElementById("contract").textContent = `The contract could not be loaded: ${error}`;
});
