"use strict";
// Feedback on answers, where the server takes it; page.js calls offerFeedback for each answer.

/** What the server does with feedback: the classes that may be named, and whether it stores images; null: it takes none. */
let feedback = null;

async function learnFeedback(classes) {
  const rollout = await (await ask("v1/rollout")).json();
  feedback = rollout.feedback && { classes, stores: rollout.stores_images };
}

function offerFeedback(article, file, prediction) {
  if (!feedback) return;
  const inside = (selector) => article.querySelector(`.feedback ${selector}`);
  const form = inside("form");
  const thanks = inside(".thanks");
  inside("select").append(...feedback.classes.filter((name) => name !== prediction.label).map((name) => new Option(name)));
  inside(".keep").hidden = !feedback.stores;
  inside(".wrong").onclick = () => (form.hidden = !form.hidden);
  inside(".right").onclick = () => send(prediction.label);
  form.onsubmit = (event) => (event.preventDefault(), send(inside("select").value));
  article.querySelector(".feedback").hidden = false;

  async function send(label) {
    const body = new FormData();
    body.append("id", prediction.id);
    body.append("label", label);
    if (feedback.stores && inside("input").checked) body.append("image", file);
    const buttons = article.querySelectorAll(".feedback button");
    for (const button of buttons) button.disabled = true;
    thanks.classList.remove("failed");
    try {
      const reply = await (await ask("v1/feedback", body)).json();
      thanks.textContent = `Thank you: counted as ${label}${reply.stored ? ", and the image is stored" : ""}.`;
      form.hidden = inside(".right").hidden = inside(".wrong").hidden = true;
    } catch (error) {
      thanks.textContent = error.message;
      thanks.classList.add("failed");
      for (const button of buttons) button.disabled = false;
    }
  }
}
