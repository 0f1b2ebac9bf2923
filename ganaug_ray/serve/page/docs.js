"use strict";
// The description of the API: what openapi.json says, with an example and a form for each route.
const find = (id) => document.getElementById(id);
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
const LONG_LIST = 8;
const IMAGES = "application/octet-stream";

let api;
const resolve = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema) || {};

/** A value as a schema describes it: its example, or one made up from its types. */
function exampleOf(schema) {
  const whole = resolve(schema);
  if (whole.examples) return whole.examples[0];
  if (whole.anyOf) return exampleOf(whole.anyOf[0]);
  if (whole.type === "array") return [exampleOf(whole.items)];
  if (whole.type === "object" || whole.properties)
    return Object.fromEntries(Object.entries(whole.properties || {}).map(([name, of]) => [name, exampleOf(of)]));
  return { integer: 1, number: 0.5, boolean: true, string: "text" }[whole.type] ?? null;
}

/** JSON to read: a list of numbers on one line, a long one cut. */
function write(value) {
  const short = JSON.stringify(value, (_, part) =>
    Array.isArray(part) && part.length > LONG_LIST ? [...part.slice(0, 3), `… ${part.length} in all`] : part, 2);
  return short.replace(/\[[^[\]{}]*\]/g, (list) => list.replace(/\s+/g, " "));
}

/** The body that a route is sent: its type and what to begin with. */
async function describeBody(path, operation) {
  const content = operation.requestBody?.content || {};
  if (path.endsWith("/infer")) return { type: "application/json", value: await makeTensor() };
  if (content["application/json"]) return { type: "application/json", value: exampleOf(content["application/json"].schema) };
  return content[IMAGES] ? { type: IMAGES } : null;
}

/** A request of the Open Inference Protocol with a black image of the right size. */
async function makeTensor() {
  let size = [32, 32, 3];
  const answer = await fetch(`v2/models/${encodeURIComponent(api.info.title)}`, { headers: keyHeader() });
  if (answer.ok) size = (await answer.json()).inputs[0].shape.slice(1);
  const data = Array(size.reduce((product, side) => product * side)).fill(0);
  return { inputs: [{ name: "image", datatype: "UINT8", shape: [1, ...size], data }] };
}

const needsKey = () => !api.security.some((way) => !Object.keys(way).length); // an empty way: without a key
const keyHeader = () => (find("key").value ? { "X-API-Key": find("key").value } : {});

/** The address with what the form says: parts of the path, and what is asked behind a question mark. */
function buildAddress(path, operation, valueOf) {
  const query = new URLSearchParams();
  let filled = path.slice(1);
  for (const { name, in: place } of operation.parameters || []) {
    const value = valueOf(name);
    if (place === "path") filled = filled.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "query" && value) query.set(name, value);
  }
  return new URL(filled + (query.size ? `?${query}` : ""), document.baseURI);
}

const initialValue = (name) => ({ name: api.info.title, version: api.info.version })[name] || "";

function writeCurl(path, method, operation, body) {
  const parts = ["curl"];
  if (find("key").value || needsKey()) parts.push('-H "X-API-Key: $GANAUG_API_KEY"'); // by its name: the line may be passed on
  if (body?.type === IMAGES) parts.push("--data-binary @image.jpg");
  else if (body) parts.push("-H 'Content-Type: application/json'", `-d '${write(body.value)}'`);
  else if (method !== "get") parts.push(`-X ${method.toUpperCase()}`);
  return [...parts, buildAddress(path, operation, initialValue)].join(" ");
}

function addForm(form, path, method, operation, body) {
  const fields = {};
  const add = (name, label, input) => {
    fields[name] = input;
    const line = make("label", { textContent: `${label} ` });
    line.append(input);
    form.querySelector(".inputs").append(line);
  };
  for (const { name, description } of operation.parameters || [])
    add(name, name, make("input", { value: initialValue(name), placeholder: description || "" }));
  if (body?.type === IMAGES) add("", "image", make("input", { type: "file", accept: "image/*", required: true }));
  else if (body) add("", "body", make("textarea", { rows: 8, spellcheck: false, value: JSON.stringify(body.value, null, 1).replace(/\s+(?=\d)/g, " ") }));
  form.onsubmit = async (event) => {
    event.preventDefault();
    const address = buildAddress(path, operation, (name) => fields[name].value);
    const sent = body && { body: body.type === IMAGES ? fields[""].files[0] : fields[""].value };
    const headers = { ...keyHeader(), ...(body && { "Content-Type": body.type }) };
    await showAnswer(form, address, { method: method.toUpperCase(), headers, ...sent });
  };
}

async function showAnswer(form, address, request) {
  const [status, reply, drawn] = [".status", ".reply", ".drawn"].map((name) => form.querySelector(name));
  const started = performance.now();
  status.textContent = "…";
  reply.hidden = drawn.hidden = true;
  try {
    const answer = await fetch(address, request);
    status.classList.toggle("failed", !answer.ok);
    if ((answer.headers.get("content-type") || "").startsWith("image/")) {
      drawn.src = URL.createObjectURL(await answer.blob());
      drawn.hidden = false;
    } else {
      const text = await answer.text();
      try { reply.textContent = write(JSON.parse(text)); } catch { reply.textContent = text; }
      reply.hidden = !text;
    }
    status.textContent = `${answer.status}, ${Math.round(performance.now() - started)} ms`;
  } catch {
    status.textContent = "The server cannot be reached.";
    status.classList.add("failed");
  }
}

function listAnswers(route, operation) {
  const fields = route.querySelector(".fields");
  const content = operation.responses["200"]?.content || {};
  const answer = content["application/json"];
  route.querySelector(".example").textContent = answer
    ? write(answer.example ?? exampleOf(answer.schema))
    : `${Object.keys(content)[0]}: ${operation.responses["200"]?.description}`;
  for (const [name, of] of Object.entries(resolve(answer?.schema).properties || {}))
    if (of.description) fields.append(make("dt", { textContent: name }), make("dd", { textContent: of.description }));
  const refusals = Object.entries(operation.responses).filter(([status]) => status !== "200");
  route.querySelector(".refusals").hidden = !refusals.length;
  for (const [status, refusal] of refusals)
    route.querySelector(".refusals dl").append(make("dt", { textContent: status }), make("dd", { textContent: refusal.description }));
}

async function addRoute(path, method, operation) {
  const route = find("route").content.cloneNode(true).querySelector("details");
  const inside = (selector) => route.querySelector(selector);
  route.dataset.route = `${method.toUpperCase()} ${path}`;
  inside(".method").textContent = method.toUpperCase();
  inside(".path").textContent = path;
  inside(".about").textContent = operation.description || "";
  inside(".asks").textContent = operation.requestBody?.description || "";
  find("routes").append(route);
  listAnswers(route, operation);
  const body = await describeBody(path, operation);
  const showCurl = () => (inside(".curl").textContent = writeCurl(path, method, operation, body));
  showCurl();
  find("key").addEventListener("change", showCurl);
  addForm(inside("form"), path, method, operation, body);
}

(async () => {
  find("key").value = sessionStorage.getItem("key") || "";
  find("key").onchange = () => sessionStorage.setItem("key", find("key").value);
  api = await (await fetch("openapi.json")).json();
  find("key").placeholder = needsKey() ? "needed on this server" : "none is needed";
  find("title").textContent = document.title = `${api.info.title}: the API`;
  find("about").textContent = api.info.description;
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(methods)) await addRoute(path, method, operation);
  const first = find("routes").querySelector(".route");
  if (first) first.open = true;
})();
