"use strict";
const make = (tag, text, name) => Object.assign(document.createElement(tag), { textContent: text || "", className: name || "" });

function properties(schema, all) {
  const found = schema.$ref ? all[schema.$ref.split("/").pop()] : schema;
  const list = make("dl");
  for (const [name, of] of Object.entries(found?.properties || {}))
    list.append(make("dt", name), make("dd", of.description || of.type || (of.$ref || "").split("/").pop()));
  return list;
}

function route(path, method, said, all) {
  const whole = make("details"), line = make("summary");
  line.append(make("span", method.toUpperCase(), "method"), make("code", path), make("span", ` ${said.description || ""}`));
  whole.append(line);
  if (said.requestBody?.description) whole.append(make("p", said.requestBody.description));
  for (const one of said.parameters || []) whole.append(make("p", `${one.name} (${one.in}) ${one.description || ""}`));
  const answers = make("dl");
  for (const [status, answer] of Object.entries(said.responses)) {
    answers.append(make("dt", status), make("dd", answer.description));
    const schema = answer.content?.["application/json"]?.schema;
    if (schema && status === "200") whole.append(properties(schema, all));
  }
  whole.append(answers);
  return whole;
}

(async () => {
  const api = await (await fetch("openapi.json")).json();
  document.getElementById("title").textContent = document.title = `${api.info.title}: the API`;
  document.getElementById("about").textContent = api.info.description;
  document.getElementById("example").textContent = `curl --data-binary @image.jpg ${new URL("v1/predict", location)}`;
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, said] of Object.entries(methods))
      document.getElementById("routes").append(route(path, method, said, api.components.schemas));
})();
