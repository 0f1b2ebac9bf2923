"use strict";
// The slider over the generator's snapshots: one picture of several is shown.
for (const figure of document.querySelectorAll(".snapshots")) {
  const slider = figure.querySelector("input");
  if (!slider) continue;
  const pictures = [...figure.querySelectorAll("img[data-label]")];
  const label = figure.querySelector("output");
  const show = () => {
    pictures.forEach((picture, number) => { picture.hidden = number !== Number(slider.value); });
    label.textContent = pictures[slider.value].dataset.label;
    slider.setAttribute("aria-valuetext", label.textContent);
  };
  slider.addEventListener("input", show);
  slider.parentElement.hidden = false;
  show();
}
// The contents mark the section that is read.
const links = new Map([...document.querySelectorAll(".contents a")].map(link => [link.hash.slice(1), link]));
const anchors = [...links.keys()].map(name => document.getElementById(name));
const mark = () => {
  const passed = anchors.filter(anchor => anchor.getBoundingClientRect().top < 120);
  const end = innerHeight + scrollY >= document.documentElement.scrollHeight - 4;
  const current = end ? anchors.at(-1) : passed.at(-1) ?? anchors[0];
  for (const [name, link] of links) {
    if (name !== current.id) link.removeAttribute("aria-current");
    else if (!link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "true");
      const bar = link.parentElement;
      bar.scrollTo({ left: link.offsetLeft - bar.clientWidth / 3 });
    }
  }
};
addEventListener("scroll", mark, { passive: true });
mark();
// An address may lead into what is folded.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.closest("details")?.setAttribute("open", "");
};
addEventListener("hashchange", unfold);
unfold();
