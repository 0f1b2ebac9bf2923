"use strict";
const find = (id) => document.getElementById(id);
const MOST_BARS = 5;
const SHARES = /accuracy|precision|recall|f1/; // metrics that are read in percent
const headers = () => (find("key").value ? { "X-API-Key": find("key").value } : {});

/** Ask the server; an answer that is none becomes an error with the server's own words. */
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body ? { method: "POST", body, headers: headers() } : { headers: headers() });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const error = new Error(problem.detail || `The server answered ${answer.status}.`);
  error.status = answer.status;
  throw error;
}

function notice(text) {
  find("notice").textContent = text;
  find("notice").hidden = !text;
}

function percent(share) {
  return `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;
}

function bar(name, share) {
  const line = document.createElement("li");
  line.style.setProperty("--share", share);
  const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: share });
  meter.setAttribute("aria-label", name);
  const [label, value] = [name, percent(share)].map((text) =>
    Object.assign(document.createElement("span"), { textContent: text, title: text }));
  line.append(meter, label, value);
  return line;
}

async function classify(file) {
  const article = find("result").content.cloneNode(true).querySelector("article");
  const inside = (selector) => article.querySelector(selector);
  const picture = inside(".picture");
  picture.src = URL.createObjectURL(file);
  picture.alt = file.name;
  picture.onerror = () => (picture.hidden = true); // what is no image leaves its name
  inside("figcaption").textContent = inside("figcaption").title = file.name;
  inside(".label").textContent = "…";
  inside(".why").hidden = true;
  find("results").prepend(article);
  find("clear").hidden = false;
  try {
    const answer = await (await ask("v1/predict", file)).json();
    const found = answer.predictions[0];
    const sorted = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]);
    inside(".label").textContent = found.label;
    inside(".bars").append(...sorted.slice(0, MOST_BARS).map(([name, share]) => bar(name, share)));
    const others = sorted.slice(MOST_BARS).reduce((sum, [, share]) => sum + share, 0);
    if (sorted.length > MOST_BARS) inside(".bars").append(bar(`${sorted.length - MOST_BARS} other classes`, others));
    inside(".took").textContent = `version ${answer.version} · ${answer.milliseconds} ms`;
    inside(".why").hidden = false;
    inside(".why").onclick = () => explain(file, found.label, inside);
    notice("");
    if (find("card").hidden) described = describe();
    await described;
    offerFeedback(article, file, found);
  } catch (error) {
    inside(".label").textContent = "No answer";
    inside(".took").textContent = error.status === 401 ? "No key was given, or a wrong one." : error.message;
    inside(".took").classList.add("failed");
    if (error.status === 401) {
      notice("This server needs an API key: type it above, then choose the image again.");
      find("key").focus();
    }
  }
}

async function explain(file, label, inside) {
  inside(".why").disabled = true;
  try {
    const answer = await ask(`v1/explain?class=${encodeURIComponent(label)}`, file);
    inside(".heat img").src = URL.createObjectURL(await answer.blob());
    inside(".heat").hidden = false;
    inside(".why").hidden = true;
  } catch (error) {
    inside(".took").textContent = error.message;
    inside(".took").classList.add("failed");
    inside(".why").disabled = false;
  }
}

async function classifyAll(files) {
  for (const file of files) await classify(file);
}

function fact(name, value) {
  if (value === null || value === undefined || value === "") return;
  const [term, text] = ["dt", "dd"].map((tag) => document.createElement(tag));
  term.textContent = name;
  text.textContent = value;
  find("facts").append(term, text);
}

/** The model card, where it may be read. */
async function describe() {
  let card;
  try {
    card = await (await ask("v1/model")).json();
  } catch (error) {
    notice(error.status === 401 ? "This server needs an API key: type it above." : error.message);
    return;
  }
  document.title = find("name").textContent = card.name;
  find("version").textContent = `version ${card.version} · ${card.classes.length} classes`;
  find("sentence").textContent = card.sentence || "";
  find("facts").replaceChildren();
  fact("Verdict", card.verdict);
  fact("Generator", card.generator);
  fact("Classes", card.classes.join(", "));
  fact("Network", card.arch + (card.parameters ? `, ${card.parameters.toLocaleString("en")} parameters` : ""));
  fact("Sees", `${card.input.size} × ${card.input.size} pixels, ${card.input.channels === 1 ? "grey" : "colour"}, ${card.input.resize}`);
  for (const [name, value] of Object.entries(card.metrics)) if (typeof value === "number")
    fact(name[0].toUpperCase() + name.slice(1).replaceAll("_", " "), SHARES.test(name) ? percent(value) : value.toFixed(4));
  fact("Chosen because", card.lineage.reason);
  for (const [name, value] of Object.entries(card.lineage.inputs || {})) fact(`Made from ${name}`, typeof value === "string" ? value : JSON.stringify(value));
  fact("Weights", card.hash);
  find("card").hidden = false;
  await learnFeedback(card.classes).catch((error) => notice(error.message));
}

for (const id of ["files", "camera"])
  find(id).onchange = (event) => classifyAll([...event.target.files]).finally(() => (event.target.value = ""));
find("clear").onclick = () => {
  for (const image of find("results").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  find("results").replaceChildren();
  find("clear").hidden = true;
};
find("key").value = sessionStorage.getItem("key") || "";
find("key").onchange = () => {
  sessionStorage.setItem("key", find("key").value);
  notice("");
  described = describe();
};
const drop = find("drop");
addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  classifyAll([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => classifyAll([...event.clipboardData.files]));
let described = describe();
